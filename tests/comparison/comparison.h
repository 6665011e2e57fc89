// The comparison of the stages: rows are what a client does, columns the stages, and each cell is
// what a test has observed. There are two of them, of the servers and of their bare programs.
#pragma once

#include "harness/stages.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <iosfwd>
#include <map>
#include <string>
#include <utility>
#include <vector>

/// Records what the running test observed: `row` says what the client does, the same text for
/// every program, `cell` what came of it. Once a test, in a suite with Comparison in its name.
void observe(const std::string& row, const std::string& cell);

/// What a test has observed of one program.
struct Observation {
    std::string text;
    bool passed = true;
};

/// One row: what a client does.
struct ComparisonRow {
    std::string title;
    std::string test;                         ///< "Suite.Test"
    std::map<std::string, Observation> cells; ///< by the program's name
};

/// What each test observed, row by row, of the servers and of their bare programs.
class Comparison {
public:
    /// `test` is "Suite.Test", whose row this is; rows stand in the order in which they come first.
    void add(const std::string& test, const std::string& title, const std::string& program,
             const Observation& observed);
    /// Adds what the tests left in a folder, each in a process of its own; false if nothing.
    bool read_fragments(const std::filesystem::path& folder);
    /// The rows that tell most, of both kinds of program, aligned for a terminal. `colours`: green
    /// is what the last server does as well, yellow what it does not, red what was not expected.
    void print_story(std::ostream& out, bool colours) const;
    /// A few rows, for a first look.
    void print_summary(std::ostream& out) const;
    /// All rows of these programs as a table in Markdown, each row with the name of its test.
    void write_table(std::ostream& out, const std::vector<Stage>& programs) const;
    /// Both whole tables in Markdown, as a page.
    void write_page(std::ostream& out) const;

private:
    ComparisonRow& row_of(const std::string& test);
    void print_rows(std::ostream& out, const std::vector<std::string>& tests, bool colours) const;

    std::vector<ComparisonRow> rows_;
};

/// Where the environment has COMPARISON_FRAGMENTS, a folder, it leaves there what each test
/// observed: the tests run in processes of their own, several at a time.
class ComparisonListener : public testing::EmptyTestEventListener {
    void OnTestEnd(const testing::TestInfo& test) override;
};
