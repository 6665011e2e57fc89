// The table of docs/reference/code_sizes.md: how long each stage is and how much each step changes,
// in lines of code without comments and blanks, counted in the sources.

#include "harness/child_process.h"
#include "harness/stages.h"
#include "harness/support.h"
#include "pages.h"
#include "source/source_text.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace fs = std::filesystem;

namespace {

std::vector<std::string> code_of(const Stage& stage, const std::string& file) {
    return code_lines(read_file(fs::path{SOURCE_DIR} / stage.name / file));
}

/// Lines that diff(1) marks with < or > between two lists of lines.
std::size_t changed_lines(const std::vector<std::string>& before,
                          const std::vector<std::string>& after) {
    const TemporaryFolder folder;
    std::ofstream(folder.path() / "a") << joined_lines(before);
    std::ofstream(folder.path() / "b") << joined_lines(after);
    const auto diff = run_command({"diff", folder.path() / "a", folder.path() / "b"});
    const auto lines = lines_of(diff.out);
    return static_cast<std::size_t>(
        std::count_if(lines.begin(), lines.end(), [](const std::string& line) {
            return line.starts_with('<') || line.starts_with('>');
        }));
}

/// The files of a server. bare.cpp stands beside them, and is not in the sums.
const std::vector<std::string> roles{"main.cpp", "conversation.h", "connection.h",
                                     "poller.h", "server.h",       "segments.h"};

std::string rounded(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", value);
    return text;
}

/// A row of a table: a stage, a cell for each role, and further cells.
std::string row(const std::string& name, const std::vector<std::string>& cells) {
    std::string text = "| " + name + " |";
    for (const auto& cell : cells) text += ' ' + cell + " |";
    return text;
}

std::string row_of_stage(const Stage& stage) {
    std::vector<std::string> cells{std::to_string(code_of(stage, "bare.cpp").size())};
    std::size_t lines = 0, letters = 0;
    for (const auto& file : roles) {
        const auto code = code_of(stage, file);
        lines += code.size();
        for (const auto& line : code) letters += line.size();
        cells.push_back(code.empty() ? "" : std::to_string(code.size()));
    }
    cells.push_back(std::to_string(lines));
    cells.push_back(rounded(static_cast<double>(letters) / static_cast<double>(lines)));
    return row('`' + stage.name + '`', cells);
}

/// A file that only one of the two has counts whole.
std::string row_of_step(const Stage& before, const Stage& after) {
    std::vector<std::string> cells{
        std::to_string(changed_lines(code_of(before, "bare.cpp"), code_of(after, "bare.cpp")))};
    std::size_t all = 0;
    for (const auto& file : roles) {
        const auto changed = changed_lines(code_of(before, file), code_of(after, file));
        all += changed;
        cells.push_back(changed == 0 ? "" : std::to_string(changed));
    }
    cells.push_back(std::to_string(all));
    return row(before.name.substr(0, 2) + " → " + after.name.substr(0, 2), cells);
}

std::vector<std::string> tables() {
    std::string heading = "stage | `bare.cpp`", rule = "--- | ---:";
    for (const auto& file : roles) heading += " | `" + file + '`', rule += " | ---:";
    std::vector<std::string> lines{"| " + heading + " | server | characters a line |",
                                   "| " + rule + " | ---: | ---: |"};
    const auto stages = all_stages();
    for (const Stage& stage : stages) lines.push_back(row_of_stage(stage));
    const auto common = code_of(stages.front(), "common.h").size();
    const auto console = code_of(stages.front(), "console.h").size();
    lines.insert(lines.end(),
                 {"",
                  "Each server also has `common.h` with " + std::to_string(common) +
                      " and `console.h` with " + std::to_string(console) + " lines of code.",
                  "", "| step" + heading.substr(5) + " | server |", "| " + rule + " | ---: |"});
    for (std::size_t i = 0; i + 1 < stages.size(); ++i)
        lines.push_back(row_of_step(stages[i], stages[i + 1]));
    return lines;
}

TEST(DocsSizes, TablesAreThoseOfTheSources) {
    const Page page = read_page(fs::path{SOURCE_DIR} / "docs/reference/code_sizes.md");
    const auto begin = std::find(page.lines.begin(), page.lines.end(), "<!-- sizes -->");
    const auto end = std::find(begin, page.lines.end(), "<!-- end of sizes -->");
    ASSERT_TRUE(end != page.lines.end());
    expect_lines(page, static_cast<std::size_t>(begin - page.lines.begin()) + 2, {begin + 1, end},
                 tables(), "counted otherwise");
}

} // namespace
