// The suite's own main(): GoogleTest's, and the table that compares the stages.
//
//   COMPARISON_FRAGMENTS=folder stage_tests --gtest_filter='*Comparison*'
//   stage_tests --observed folder --comparison comparison.md

#include "comparison/comparison.h"
#include "harness/programs.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <iostream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace {

/// 1,100 clients need more descriptors than the 1,024 that a process may have by default.
void raise_descriptor_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/// The tests that stages with a sanitizer cannot pass, whose runtime is part of the process.
const std::string for_plain_stages =
    "ComparisonOfCost*:LimitsOfThreads.*:" // it has threads and memory of its own
    "Limits.LargestBodyIsNotKeptInMemory/*:"
    "LimitsOfConcurrent.MemoryOfAConnectionDoesNotGrowWithTheBody/*:"
    "Faults*:ComparisonOfDisk*:WorkersAndTheDisk*:"
    "Wire.EverySendIsShort/*:"                         // it must be the first library itself
    "Calls*:Injection*:Wire.EachByteIsLookedAtOnce/*:" // it makes calls of its own
    "Wire.SecondSendDoesNotCostTheResponse/*:" // it cannot look for leaks while it is traced
    "Lifecycle.SignalBetweenCheckAndWait/*:"   // ThreadSanitizer delivers signals when it likes
    "Standalone.*:"                            // not about the programs under test
    "*/*_bare";                                // their faults are left in on purpose

/// Leaves those tests out of what is listed and run.
void leave_out_tests_for_plain_stages() {
    auto filter = testing::GTEST_FLAG(filter);
    filter += filter.find('-') == std::string::npos ? '-' : ':';
    testing::GTEST_FLAG(filter) = filter + for_plain_stages;
}

/// Shows what the tests of the comparison left in `folder`, and writes all of it to `file`.
int show_comparison(const std::string& folder, const std::string& file) {
    Comparison comparison;
    if (!comparison.read_fragments(folder)) {
        std::cerr << "stage_tests: no test has left anything in " << folder << '\n';
        return 1;
    }
    const char* no_color = std::getenv("NO_COLOR"); // any value but the empty one forbids colours
    const bool colours_allowed = no_color == nullptr || *no_color == '\0';
    comparison.print_story(std::cout, colours_allowed && isatty(STDOUT_FILENO) == 1);
    std::ofstream out(file);
    comparison.write_page(out);
    out.close();
    if (!out) std::cerr << "stage_tests: cannot write " << file << '\n';
    return out ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    CLI::App options{"The integration suite of the seven stages"};
    std::string folder, file;
    auto* observed = options.add_option(
        "--observed", folder, "Show what the tests of the comparison left in this folder");
    auto* written = options.add_option("--comparison", file, "Write all of it to this file");
    observed->needs(written);
    written->needs(observed);
    CLI11_PARSE(options, argc, argv);
    if (!folder.empty()) return show_comparison(folder, file);
    if (sanitizer() != Sanitizer::none) leave_out_tests_for_plain_stages();
    raise_descriptor_limit();
    testing::UnitTest::GetInstance()->listeners().Append(new ComparisonListener); // which owns it
    return RUN_ALL_TESTS();
}
