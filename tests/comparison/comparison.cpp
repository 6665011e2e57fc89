#include "comparison.h"

#include "harness/stages.h"
#include "harness/support.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <regex>
#include <sstream>

namespace fs = std::filesystem;

namespace {

constexpr std::size_t title_width = 30;
constexpr std::size_t kind_width = 4; // "bare", "main"
constexpr std::size_t cell_width = 10;

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

/// The rows that tell most in the least space.
const std::vector<std::string> summary{
    "ComparisonOfOneClient.Silence",
    "ComparisonOfNextClient.Later",
    "ComparisonOfNextClient.WhileTheFirstTypes",
};

/// The rows that tell the story: where the bare programs and the servers differ, or the stages do.
const std::vector<std::string> story{
    "ComparisonOfOneClient.Get",
    "ComparisonOfOneClient.Silence",
    "ComparisonOfNextClient.WhileTheFirstTypes",
    "ComparisonOfNextClient.AfterOneLeft",
    "ComparisonOfNextClient.AfterOneReset",
    "ComparisonOfNextClient.AfterAStop",
    "ComparisonOfHeldOpen.Crowd",
    "ComparisonOfCost.Threads",
    "ComparisonOfCostOfMany.RequestsBesideIdleClients",
    "ComparisonOfShortage.OutOfDescriptors",
};

void print_heading(std::ostream& out) {
    std::string text =
        padded({"What a client does"}, 0, title_width) + std::string(2 + kind_width, ' ');
    for (const Stage& stage : stages_of_path())
        text += "  " + padded({stage.name.substr(0, 2)}, 0, cell_width);
    out << text.substr(0, text.find_last_not_of(' ') + 1) << '\n'
        << std::string(text.size(), '-') << '\n';
}

void print_legend(std::ostream& out) {
    out << '\n';
    const char* gap = "";
    for (const Stage& stage : stages_of_path()) out << std::exchange(gap, "  ") << stage.name;
    out << "\nbare: bare.cpp, the idea alone; main: main.cpp, the server"
           "\n-: does not apply; !: not what was expected\n";
}

/// Red for what was not expected, green for what the last server does as well, else yellow.
std::string colour_of(const ComparisonRow& row, const std::string& program) {
    const auto cell = row.cells.find(program);
    if (cell == row.cells.end()) return "\033[2m";
    if (!cell->second.passed) return "\033[31m";
    const auto last = row.cells.find(stages_of_path().back().name);
    const bool same = last != row.cells.end() && last->second.text == cell->second.text;
    return same ? "\033[32m" : "\033[33m";
}

bool has_cell(const ComparisonRow& row, const std::vector<Stage>& programs) {
    return std::any_of(programs.begin(), programs.end(),
                       [&](const Stage& program) { return row.cells.contains(program.name); });
}

/// The cells of one kind of program, below each other where they are long, with `title` and the
/// `kind` in front.
void print_cells(std::ostream& out, const ComparisonRow& row, const std::string& title,
                 const std::string& kind, const std::vector<Stage>& programs, bool colours) {
    const auto heading = wrapped(title, title_width);
    std::map<std::string, std::vector<std::string>> cells;
    std::size_t height = heading.size();
    for (const Stage& program : programs) {
        const auto found = row.cells.find(program.name);
        const bool failed = found != row.cells.end() && !found->second.passed;
        const auto text = found == row.cells.end() ? "-" : found->second.text;
        cells[program.name] = wrapped(text + (failed ? " !" : ""), cell_width);
        height = std::max(height, cells[program.name].size());
    }
    for (std::size_t line = 0; line < height; ++line) {
        std::string text =
            padded(heading, line, title_width) + "  " +
            padded(line == 0 ? std::vector{kind} : std::vector<std::string>{}, 0, kind_width);
        for (const Stage& program : programs) {
            text += std::string{"  "} + (colours ? colour_of(row, program.name) : "") +
                    padded(cells[program.name], line, cell_width) + (colours ? "\033[0m" : "");
        }
        out << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
    }
}

} // namespace

void observe(const std::string& row, const std::string& cell) {
    testing::Test::RecordProperty("row", row);
    testing::Test::RecordProperty("cell", cell);
}

void ComparisonListener::OnTestEnd(const testing::TestInfo& test) {
    const char* folder = std::getenv("COMPARISON_FRAGMENTS");
    if (folder == nullptr || std::strstr(test.test_suite_name(), "Comparison") == nullptr) return;
    const auto cell = property(test, "cell");
    fs::create_directories(folder);
    std::ofstream file(fs::path{folder} / (base_name(test) + '.' + stage_of(test)));
    file << property(test, "row") << '\n'
         << (cell.empty() ? "failed" : cell) << '\n'
         << test.result()->Passed() << '\n';
}

void Comparison::add(const std::string& test, const std::string& title, const std::string& program,
                     const Observation& observed) {
    ComparisonRow& row = row_of(test);
    if (!title.empty()) row.title = title;
    row.cells[program] = observed;
}

bool Comparison::read_fragments(const fs::path& folder) {
    static const std::regex definition{R"(^TEST_P\((\w+), (\w+)\))"};
    const auto tests = fs::path{SOURCE_DIR} / "tests";
    for (const auto& line : lines_of(read_file(tests / "comparison/comparison_test.cpp") +
                                     read_file(tests / "faults/injection_test.cpp"))) {
        std::smatch match;
        if (!std::regex_search(line, match, definition)) continue;
        const auto test = match[1].str() + '.' + match[2].str();
        for (const Stage& program : all_programs()) {
            const auto fragment = lines_of(read_file(folder / (test + '.' + program.name)));
            if (fragment.size() == 3)
                add(test, fragment[0], program.name, {fragment[1], fragment[2] == "1"});
        }
    }
    return !rows_.empty();
}

void Comparison::print_story(std::ostream& out, bool colours) const {
    print_rows(out, story, colours);
    print_legend(out);
}

void Comparison::print_summary(std::ostream& out) const { print_rows(out, summary, false); }

void Comparison::print_rows(std::ostream& out, const std::vector<std::string>& tests,
                            bool colours) const {
    print_heading(out);
    for (const ComparisonRow& row : rows_) {
        if (std::find(tests.begin(), tests.end(), row.test) == tests.end()) continue;
        const auto bare = bare_programs(1, last_of_path);
        const bool has_bare = has_cell(row, bare);
        if (has_bare) print_cells(out, row, row.title, "bare", bare, colours);
        print_cells(out, row, has_bare ? "" : row.title, "main", stages_of_path(), colours);
    }
}

ComparisonRow& Comparison::row_of(const std::string& test) {
    const auto found = std::find_if(rows_.begin(), rows_.end(),
                                    [&](const ComparisonRow& row) { return row.test == test; });
    if (found != rows_.end()) return *found;
    return rows_.emplace_back(ComparisonRow{in_words(test), test, {}});
}

void Comparison::write_table(std::ostream& out, const std::vector<Stage>& programs) const {
    out << "| what a client does |";
    for (const Stage& program : programs) out << ' ' << program.name << " |";
    out << " test |\n| --- |";
    for (std::size_t i = 0; i <= programs.size(); ++i) out << " --- |";
    out << '\n';
    for (const ComparisonRow& row : rows_) {
        if (!has_cell(row, programs)) continue;
        out << "| " << row.title << " |";
        for (const Stage& program : programs) {
            const auto cell = row.cells.find(program.name);
            const bool there = cell != row.cells.end();
            out << ' ' << (there ? cell->second.text : "-")
                << (there && !cell->second.passed ? " (not expected)" : "") << " |";
        }
        out << " `" << row.test << "` |\n";
    }
}

void Comparison::write_page(std::ostream& out) const {
    out << "# What a client does, and what each program makes of it\n\n"
           "Every cell is what a test has observed; the last column names the test. "
           "`-` where a row does not apply.\n\n## The servers\n\n";
    write_table(out, stages_of_path());
    out << "\n## The bare programs\n\n";
    write_table(out, bare_programs(1, last_of_path));
    out << "\n## Beyond the article\n\n";
    write_table(out, programs_beyond());
}
