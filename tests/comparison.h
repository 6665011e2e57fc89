// The comparison of the stages: rows are what a client does, columns the stages, and each cell is
// what a test has observed.
#pragma once

#include <filesystem>
#include <gtest/gtest.h>
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

/// Records what the running test observed: `row` says what the client does, the same text for
/// every stage, `cell` what came of it. Once a test, in a suite with Comparison in its name.
void observe(const std::string& row, const std::string& cell);

/// The comparison as a table: what each test observed, row by row.
class ComparisonTable {
public:
    /// `test` is "Suite.Test", whose row this is; rows stand in the order in which they come first.
    void add(const std::string& test, const std::string& title, const std::string& stage,
             const std::string& cell, bool passed);
    /// Aligned for a terminal; `colours` as colour_of() says.
    void print(std::ostream& out, bool colours) const;
    /// In Markdown, each row with the name of its test.
    void write_markdown(std::ostream& out) const;
    /// Adds what the tests left in a folder, each in a process of its own; false if nothing.
    bool read_fragments(const std::filesystem::path& folder);

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

    Row& row_of(const std::string& test);
    static void print_row(std::ostream& out, const Row& row, bool colours);
    static std::string colour_of(const Row& row, const std::string& stage);

    std::vector<Row> rows_;
};

/// Collects what observe() records. It shows progress on stderr while the tests run and prints the
/// table on stdout at the end. Where the environment has COMPARISON_FRAGMENTS, a folder, it leaves
/// there what each test observed.
class ComparisonListener : public testing::EmptyTestEventListener {
public:
    const ComparisonTable& table() const { return table_; }

private:
    void OnTestProgramStart(const testing::UnitTest& program) override;
    void OnTestStart(const testing::TestInfo& test) override;
    void OnTestPartResult(const testing::TestPartResult& result) override;
    void OnTestEnd(const testing::TestInfo& test) override;
    void OnTestProgramEnd(const testing::UnitTest& program) override;

    ComparisonTable table_;
    int tests_ = 0;
    int started_ = 0;
    std::string under_way_; ///< the test whose name was shown last
};
