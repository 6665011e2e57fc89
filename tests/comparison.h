// The comparison of the stages: rows are what a client does, columns the stages, and each cell is
// what a test has observed.
#pragma once

#include <gtest/gtest.h>
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

/// Records what the running test observed: `row` says what the client does, the same text for
/// every stage, `cell` what came of it. Once a test, in a suite with Comparison in its name.
void observe(const std::string& row, const std::string& cell);

/// Collects what observe() records, row by row in the order of the tests. It shows progress on
/// stderr while they run and prints the table on stdout at the end.
class ComparisonListener : public testing::EmptyTestEventListener {
public:
    /// The table in Markdown, each row with the name of its test.
    void write_markdown(std::ostream& out) const;

private:
    struct Cell {
        std::string text;
        bool passed;
    };
    struct Row {
        std::string title;
        std::string test;                  ///< "Suite.Test"
        std::map<std::string, Cell> cells; ///< by the stage's name
    };

    void OnTestProgramStart(const testing::UnitTest& program) override;
    void OnTestStart(const testing::TestInfo& test) override;
    void OnTestPartResult(const testing::TestPartResult& result) override;
    void OnTestEnd(const testing::TestInfo& test) override;
    void OnTestProgramEnd(const testing::UnitTest& program) override;

    Row& row_of(const std::string& test);
    static void print_row(const Row& row, bool colours);
    static std::string colour_of(const Row& row, const std::string& stage);

    std::vector<Row> rows_;
    int tests_ = 0;
    int started_ = 0;
    std::string under_way_; ///< the test whose name was shown last
};
