#include "comparison.h"

#include "stages.h"
#include "support.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <regex>
#include <sstream>
#include <unistd.h>

namespace fs = std::filesystem;

namespace {

constexpr std::size_t title_width = 36;
constexpr std::size_t cell_width = 10;

bool on_terminal(int descriptor) { return isatty(descriptor) == 1; }

bool colours_wanted() {
    const char* no_color = std::getenv("NO_COLOR"); // any value but the empty one forbids colours
    return on_terminal(STDOUT_FILENO) && (no_color == nullptr || *no_color == '\0');
}

/// "Suite.Test" of a parameterised test's "Suite" and "Test/06_epoll_level".
std::string base_name(const testing::TestInfo& test) {
    const std::string name = test.name();
    return std::string{test.test_suite_name()} + '.' + name.substr(0, name.find('/'));
}

std::string stage_of(const testing::TestInfo& test) {
    const std::string name = test.name();
    const auto slash = name.find('/');
    return slash == std::string::npos ? "" : name.substr(slash + 1);
}

bool feeds_comparison(const testing::TestInfo& test) {
    return std::strstr(test.test_suite_name(), "Comparison") != nullptr;
}

/// "second client later" of "Suite.SecondClientLater".
std::string in_words(const std::string& test) {
    std::string words;
    for (const char letter : test.substr(test.find('.') + 1)) {
        const auto byte = static_cast<unsigned char>(letter);
        if (std::isupper(byte) != 0 && !words.empty()) words += ' ';
        words += static_cast<char>(std::tolower(byte));
    }
    return words;
}

/// Characters, not bytes: those of UTF-8 after the first of a character do not count (RFC 3629 §3).
std::size_t columns(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; }));
}

/// The text in lines of at most `width` columns, broken between words.
std::vector<std::string> wrapped(const std::string& text, std::size_t width) {
    std::vector<std::string> lines(1);
    std::istringstream words(text);
    for (std::string word; words >> word;) {
        const bool fits = columns(lines.back()) + 1 + columns(word) <= width;
        if (!lines.back().empty() && !fits) lines.emplace_back();
        if (!lines.back().empty()) lines.back() += ' ';
        lines.back() += word;
    }
    return lines;
}

std::string padded(const std::vector<std::string>& lines, std::size_t line, std::size_t width) {
    const std::string text = line < lines.size() ? lines[line] : "";
    return text + std::string(width - std::min(width, columns(text)), ' ');
}

std::string property(const testing::TestInfo& test, const std::string& key) {
    const testing::TestResult& result = *test.result();
    for (int i = 0; i < result.test_property_count(); ++i) {
        if (key == result.GetTestProperty(i).key()) return result.GetTestProperty(i).value();
    }
    return "";
}

void print_heading(std::ostream& out) {
    out << padded({"What a client does"}, 0, title_width);
    std::string text;
    for (const Stage& stage : all_stages())
        text += "  " + padded({stage.name.substr(0, 2)}, 0, cell_width);
    out << text.substr(0, text.find_last_not_of(' ') + 1) << '\n'
        << std::string(title_width + text.size(), '-') << '\n';
}

void print_legend(std::ostream& out) {
    out << '\n';
    const char* gap = "";
    for (const Stage& stage : all_stages()) out << std::exchange(gap, "  ") << stage.name;
    out << "\n-: does not apply to the stage; !: not what was expected\n";
}

} // namespace

void observe(const std::string& row, const std::string& cell) {
    testing::Test::RecordProperty("row", row);
    testing::Test::RecordProperty("cell", cell);
}

void ComparisonListener::OnTestProgramStart(const testing::UnitTest& program) {
    for (int i = 0; i < program.total_test_suite_count(); ++i) {
        const testing::TestSuite& suite = *program.GetTestSuite(i);
        const bool feeds = std::strstr(suite.name(), "Comparison") != nullptr;
        tests_ += feeds ? suite.test_to_run_count() : 0;
    }
}

void ComparisonListener::OnTestStart(const testing::TestInfo& test) {
    if (!feeds_comparison(test)) return;
    ++started_;
    if (tests_ < 2) return;
    const bool terminal = on_terminal(STDERR_FILENO);
    const bool same_row = std::exchange(under_way_, base_name(test)) == base_name(test);
    if (!terminal && same_row) return; // a log wants a line a row, not one a test
    std::cerr << (terminal ? "\r\033[K[" : "[") << started_ << '/' << tests_ << "] "
              << in_words(base_name(test)) << " … " << (terminal ? stage_of(test) : "\n")
              << std::flush;
}

void ComparisonListener::OnTestPartResult(const testing::TestPartResult& result) {
    if (result.failed() && on_terminal(STDERR_FILENO)) std::cerr << "\r\033[K" << std::flush;
}

void ComparisonListener::OnTestEnd(const testing::TestInfo& test) {
    if (!feeds_comparison(test)) return;
    const auto title = property(test, "row");
    const auto cell = property(test, "cell");
    const bool passed = test.result()->Passed();
    table_.add(base_name(test), title, stage_of(test), cell.empty() ? "failed" : cell, passed);
    const char* folder = std::getenv("COMPARISON_FRAGMENTS");
    if (folder == nullptr) return;
    fs::create_directories(folder);
    std::ofstream(fs::path{folder} / (base_name(test) + '.' + stage_of(test))) << title << '\n'
                                                                               << cell << '\n'
                                                                               << passed << '\n';
}

void ComparisonListener::OnTestProgramEnd(const testing::UnitTest& /*program*/) {
    if (tests_ < 2) return;
    if (on_terminal(STDERR_FILENO)) std::cerr << "\r\033[K" << std::flush;
    std::cout << '\n';
    table_.print(std::cout, colours_wanted());
}

void ComparisonTable::add(const std::string& test, const std::string& title,
                          const std::string& stage, const std::string& cell, bool passed) {
    Row& row = row_of(test);
    if (!title.empty()) row.title = title;
    row.cells[stage] = {cell, passed};
}

bool ComparisonTable::read_fragments(const fs::path& folder) {
    static const std::regex definition{R"(^TEST_P\((\w+), (\w+)\))"};
    const auto tests = fs::path{SOURCE_DIR} / "tests";
    for (const auto& line : lines_of(read_file(tests / "comparison_test.cpp") +
                                     read_file(tests / "injection_test.cpp"))) {
        std::smatch match;
        if (!std::regex_search(line, match, definition)) continue;
        const auto test = match[1].str() + '.' + match[2].str();
        for (const Stage& stage : all_stages()) {
            const auto fragment = lines_of(read_file(folder / (test + '.' + stage.name)));
            if (fragment.size() == 3)
                add(test, fragment[0], stage.name, fragment[1], fragment[2] == "1");
        }
    }
    return !rows_.empty();
}

void ComparisonTable::print(std::ostream& out, bool colours) const {
    print_heading(out);
    for (const Row& row : rows_) print_row(out, row, colours);
    print_legend(out);
}

ComparisonTable::Row& ComparisonTable::row_of(const std::string& test) {
    const auto found =
        std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) { return row.test == test; });
    if (found != rows_.end()) return *found;
    return rows_.emplace_back(Row{in_words(test), test, {}});
}

void ComparisonTable::print_row(std::ostream& out, const Row& row, bool colours) {
    const auto title = wrapped(row.title, title_width);
    std::map<std::string, std::vector<std::string>> cells;
    std::size_t height = title.size();
    for (const Stage& stage : all_stages()) {
        const auto found = row.cells.find(stage.name);
        const bool failed = found != row.cells.end() && !found->second.passed;
        const auto text = found == row.cells.end() ? "-" : found->second.text;
        cells[stage.name] = wrapped(text + (failed ? " !" : ""), cell_width);
        height = std::max(height, cells[stage.name].size());
    }
    for (std::size_t line = 0; line < height; ++line) {
        std::string text = padded(title, line, title_width);
        for (const Stage& stage : all_stages()) {
            text += std::string{"  "} + (colours ? colour_of(row, stage.name) : "") +
                    padded(cells[stage.name], line, cell_width) + (colours ? "\033[0m" : "");
        }
        out << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
    }
}

/// Red for what was not expected, green for what the last stage observes as well, else yellow.
std::string ComparisonTable::colour_of(const Row& row, const std::string& stage) {
    const auto cell = row.cells.find(stage);
    if (cell == row.cells.end()) return "\033[2m";
    if (!cell->second.passed) return "\033[31m";
    const auto last = row.cells.find(all_stages().back().name);
    const bool same = last != row.cells.end() && last->second.text == cell->second.text;
    return same ? "\033[32m" : "\033[33m";
}

void ComparisonTable::write_markdown(std::ostream& out) const {
    out << "# What a client does, and what each stage makes of it\n\n"
           "Every cell is what a test has observed; the last column names the test. "
           "`-` where a row does not apply to a stage.\n\n| what a client does |";
    for (const Stage& stage : all_stages()) out << ' ' << stage.name << " |";
    out << " test |\n| --- |";
    for (std::size_t i = 0; i <= all_stages().size(); ++i) out << " --- |";
    out << '\n';
    for (const Row& row : rows_) {
        out << "| " << row.title << " |";
        for (const Stage& stage : all_stages()) {
            const auto cell = row.cells.find(stage.name);
            const bool there = cell != row.cells.end();
            out << ' ' << (there ? cell->second.text : "-")
                << (there && !cell->second.passed ? " (not expected)" : "") << " |";
        }
        out << " `" << row.test << "` |\n";
    }
}
