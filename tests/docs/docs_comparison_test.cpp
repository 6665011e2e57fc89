// The comparison in the docs is what the suite has just observed: the tests of its rows leave what
// they saw in a folder (COMPARISON_FRAGMENTS), and ctest runs them before this one.

#include "comparison/comparison.h"
#include "harness/support.h"
#include "pages.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <regex>
#include <sstream>

namespace fs = std::filesystem;

namespace {

/// Without the figures that differ from run to run: CPU time, memory, and how many of the pieces
/// the kernel put together.
std::string levelled(const std::string& text) {
    static const std::regex figure{R"([0-9]+ +(µs|KiB|segments))"};
    static const std::regex spaces{" +"};
    return std::regex_replace(std::regex_replace(text, figure, "~ $1"), spaces, " ");
}

/// The page's lines where they say the same, the observed ones elsewhere.
std::vector<std::string> merged(const std::vector<std::string>& written,
                                const std::vector<std::string>& observed) {
    auto lines = observed;
    for (std::size_t i = 0; i < std::min(written.size(), lines.size()); ++i)
        if (levelled(written[i]) == levelled(lines[i])) lines[i] = written[i];
    return lines;
}

class DocsComparison : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(comparison.read_fragments(FRAGMENTS_FOLDER))
            << "nothing was observed: 'ctest -R DocsComparison' runs the comparison first";
    }

    Comparison comparison;
};

TEST_F(DocsComparison, ReadmeShowsWhatWasObserved) {
    const Page page = read_page(fs::path{SOURCE_DIR} / "README.md");
    const auto fence = std::find_if(page.fences.begin(), page.fences.end(),
                                    [](const Fence& each) { return each.is("text"); });
    ASSERT_TRUE(fence != page.fences.end()) << "README.md has no block ```text comparison";
    std::ostringstream out;
    comparison.print_summary(out);
    expect_lines(page, fence->line + 1, fence->lines, merged(fence->lines, lines_of(out.str())),
                 "observed otherwise");
}

/// The cells of a row of a table in Markdown.
std::vector<std::string> cells_of(const std::string& row) {
    std::vector<std::string> cells;
    std::istringstream stream(row.substr(1));
    for (std::string cell; std::getline(stream, cell, '|');)
        cells.push_back(cell.substr(1, std::max<std::size_t>(cell.size(), 2) - 2));
    return cells;
}

/// The chapter of a program: that of its stage.
std::string chapter_of(const std::string& program) {
    return "../" + program.substr(0, program.find("_bare")) + ".md";
}

/// The number of a program. Beyond the seven, servers and bare programs share a table.
std::string heading_of(const std::string& program) {
    const bool is_bare = program.ends_with("_bare") && std::stoi(program) > last_of_path;
    return program.substr(0, 2) + (is_bare ? ", bare" : "");
}

/// A row as the page has it: the stage's chapter behind each heading, the test's source behind its
/// name, and one more column, where the row is explained.
std::string row_of_page(const std::string& row, std::size_t number, const std::string& explained) {
    auto cells = cells_of(row);
    if (number == 0)
        for (auto& cell : cells)
            if (std::isdigit(static_cast<unsigned char>(cell.front())) != 0)
                cell = '[' + heading_of(cell) + "](" + chapter_of(cell) + ")";
    const bool injected = cells.back().find("InjectionComparison") != std::string::npos;
    const std::string source =
        injected ? "faults/injection_test.cpp" : "comparison/comparison_test.cpp";
    if (number > 1) cells.back() = '[' + cells.back() + "](../../tests/" + source + ")";
    std::string text = "|";
    for (const auto& cell : cells) text += ' ' + cell + " |";
    return text + ' ' + (number == 0 ? "explained in" : number == 1 ? "---" : explained) + " |";
}

/// The table below this heading is that of these programs.
void expect_table(const Page& page, const std::string& heading, const Comparison& comparison,
                  const std::vector<Stage>& programs) {
    std::ostringstream out;
    comparison.write_table(out, programs);
    const auto is_row = [](const std::string& line) { return line.starts_with("| "); };
    const auto start = std::find(page.lines.begin(), page.lines.end(), heading);
    ASSERT_TRUE(start != page.lines.end()) << page.file << " has no heading " << heading;
    const auto first = std::find_if(start, page.lines.end(), is_row);
    const std::vector<std::string> written(first,
                                           std::find_if_not(first, page.lines.end(), is_row));
    std::vector<std::string> right;
    for (const auto& line : lines_of(out.str())) {
        const auto test = cells_of(line).back();
        const auto old = std::find_if(written.begin(), written.end(), [&](const auto& row) {
            return row.find(test) != std::string::npos;
        });
        const auto explained = old == written.end() ? "?" : cells_of(*old).back();
        right.push_back(row_of_page(line, right.size(), explained));
        if (right.size() > 2 && explained.find(".md") == std::string::npos)
            ADD_FAILURE() << page.file << ": no chapter explains " << test;
    }
    expect_lines(page, static_cast<std::size_t>(first - page.lines.begin()) + 1, written,
                 merged(written, right), "observed otherwise");
}

TEST_F(DocsComparison, PageShowsTheServers) {
    const Page page = read_page(fs::path{SOURCE_DIR} / "docs/reference/comparison.md");
    expect_table(page, "## The servers", comparison, stages_of_path());
}

TEST_F(DocsComparison, PageShowsTheBarePrograms) {
    const Page page = read_page(fs::path{SOURCE_DIR} / "docs/reference/comparison.md");
    expect_table(page, "## The bare programs", comparison, bare_programs(1, last_of_path));
}

TEST_F(DocsComparison, PageShowsThoseBeyondTheArticle) {
    const Page page = read_page(fs::path{SOURCE_DIR} / "docs/reference/comparison.md");
    expect_table(page, "## Beyond the article", comparison, programs_beyond());
}

} // namespace
