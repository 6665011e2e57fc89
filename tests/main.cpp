// The suite's own main(): GoogleTest's, and the table that compares the stages.
//
//   stage_tests --gtest_filter='*Comparison*' --gtest_brief=1 --comparison=comparison.md

#include "comparison.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <gtest/gtest.h>
#include <iostream>
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

} // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    CLI::App options{"The integration suite of the seven stages"};
    std::string file;
    options.add_option("--comparison", file, "Write the comparison as Markdown to this file");
    CLI11_PARSE(options, argc, argv);
    raise_descriptor_limit();
    const ComparisonListener& comparison = add_comparison_listener();
    const int result = RUN_ALL_TESTS();
    if (file.empty()) return result;
    std::ofstream out(file);
    comparison.table().write_markdown(out);
    out.close();
    if (!out) std::cerr << "stage_tests: cannot write " << file << '\n';
    return out ? result : 1;
}
