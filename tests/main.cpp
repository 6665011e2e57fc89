// The suite's own main(): GoogleTest's, and the table that compares the stages.
//
//   stage_tests --gtest_filter='*Comparison*' --gtest_brief=1 --comparison=comparison.md

#include "comparison/comparison.h"
#include "harness/programs.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <gtest/gtest.h>
#include <iostream>
#include <string>
#include <sys/resource.h>

namespace {

/// 1,100 clients need more descriptors than the 1,024 that a process may have by default.
void raise_descriptor_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/// Puts the comparison in front of GoogleTest's own printer, so that it can clear its progress
/// line before a failure is printed. GoogleTest owns the listener.
ComparisonListener& add_comparison_listener() {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    auto* printer = listeners.Release(listeners.default_result_printer());
    auto* comparison = new ComparisonListener;
    listeners.Append(comparison);
    listeners.Append(printer);
    return *comparison;
}

/// The tests that stages with a sanitizer cannot pass, whose runtime is part of the process.
const std::string for_plain_stages =
    "ComparisonOfCost*:LimitsOfThreads.*:" // it has threads and memory of its own
    "Limits.LargestBodyIsNotKeptInMemory/*:"
    "LimitsOfConcurrent.MemoryOfAConnectionDoesNotGrowWithTheBody/*:"
    "Faults*:Wire.EverySendIsShort/*:"          // it must be the first library itself
    "Injection*:Wire.EachByteIsLookedAtOnce/*:" // it makes calls of its own
    "Wire.SecondSendDoesNotCostTheResponse/*:"  // it cannot look for leaks while it is traced
    "Lifecycle.SignalBetweenCheckAndWait/*:"    // ThreadSanitizer delivers signals when it likes
    "Standalone.*:"                             // not about the programs under test
    "*/*_bare";                                 // their faults are left in on purpose

/// Leaves those tests out of what is listed and run.
void leave_out_tests_for_plain_stages() {
    auto filter = testing::GTEST_FLAG(filter);
    filter += filter.find('-') == std::string::npos ? '-' : ':';
    testing::GTEST_FLAG(filter) = filter + for_plain_stages;
}

} // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    CLI::App options{"The integration suite of the seven stages"};
    std::string file;
    options.add_option("--comparison", file, "Write the comparison as Markdown to this file");
    CLI11_PARSE(options, argc, argv);
    if (sanitizer() != Sanitizer::none) leave_out_tests_for_plain_stages();
    raise_descriptor_limit();
    const ComparisonListener& listener = add_comparison_listener();
    const int result = RUN_ALL_TESTS();
    if (file.empty()) return result;
    std::ofstream out(file);
    listener.comparison().write_page(out);
    out.close();
    if (!out) std::cerr << "stage_tests: cannot write " << file << '\n';
    return out ? result : 1;
}
