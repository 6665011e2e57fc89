// The table of docs/reference/code_sizes.md: how long each stage is and how much each step changes,
// in lines of code without comments and blanks, counted in the sources.

#include "harness/child_process.h"
#include "harness/stages.h"
#include "harness/support.h"
#include "pages.h"
#include "source/source_text.h"
#include "source/stage_sources.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace fs = std::filesystem;

namespace {

std::vector<std::string> code_of(const Stage& stage, const std::string& file) {
    return code_lines(source_of(stage, file));
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

/// The files that no stage of the path has.
std::vector<std::string> files_of_its_own(const Stage& stage) {
    auto files = sources_of_server(stage);
    std::erase_if(files, [](const std::string& file) {
        return file == "common.h" || file == "console.h" ||
               std::find(roles.begin(), roles.end(), file) != roles.end();
    });
    return files;
}

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

/// All code of some files.
std::vector<std::string> code_of(const Stage& stage, const std::vector<std::string>& files) {
    std::vector<std::string> all;
    for (const auto& file : files)
        for (const auto& line : code_of(stage, file)) all.push_back(line);
    return all;
}

/// A column of a table: a file, or those of a stage's own together.
struct Column {
    std::string name;
    std::vector<std::string> files;
};

std::vector<Column> columns_of(const Stage& stage) {
    const bool is_beyond = stage.number > last_of_path;
    std::vector<Column> columns;
    for (const auto& file : roles)
        if (!is_beyond || file != "conversation.h") columns.push_back({'`' + file + '`', {file}});
    if (is_beyond) columns.push_back({"files of its own", files_of_its_own(stage)});
    return columns;
}

/// The number, or nothing for 0.
std::string cell(std::size_t lines) { return lines == 0 ? "" : std::to_string(lines); }

std::string row_of_stage(const Stage& stage) {
    std::vector<std::string> cells{std::to_string(code_of(stage, "bare.cpp").size())};
    std::size_t lines = 0, letters = 0;
    for (const Column& column : columns_of(stage)) {
        const auto code = code_of(stage, column.files);
        lines += code.size();
        for (const auto& line : code) letters += line.size();
        cells.push_back(cell(code.size()));
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
    for (const Column& column : columns_of(after)) {
        const auto changed =
            changed_lines(code_of(before, column.files), code_of(after, column.files));
        all += changed;
        cells.push_back(cell(changed));
    }
    cells.push_back(std::to_string(all));
    return row(before.name.substr(0, 2) + " → " + after.name.substr(0, 2), cells);
}

/// The heading of a table, with the line below it.
std::vector<std::string> heading(const std::string& first, const Stage& stage,
                                 const std::vector<std::string>& last) {
    std::string names = "| " + first + " | `bare.cpp` |", rule = "| --- | ---: |";
    for (const Column& column : columns_of(stage)) {
        names += ' ' + column.name + " |";
        rule += " ---: |";
    }
    for (const auto& name : last) names += ' ' + name + " |", rule += " ---: |";
    return {names, rule};
}

/// A table of these stages, and one of the steps that lead to them.
std::vector<std::string> tables_of(const std::vector<Stage>& stages) {
    auto lines = heading("stage", stages.back(), {"server", "characters a line"});
    for (const Stage& stage : stages) lines.push_back(row_of_stage(stage));
    lines.emplace_back("");
    for (const auto& line : heading("step", stages.back(), {"server"})) lines.push_back(line);
    const auto all = all_stages();
    for (const Stage& stage : stages) {
        const int from = std::min(stage.number - 1, last_of_path);
        if (from > 0) lines.push_back(row_of_step(all[static_cast<std::size_t>(from) - 1], stage));
    }
    return lines;
}

std::vector<std::string> tables() {
    auto lines = tables_of(stages_of_path());
    const auto first = all_stages().front();
    const auto size = [&](const char* file) { return std::to_string(code_of(first, file).size()); };
    lines.insert(lines.end(), {"",
                               "Each server also has `common.h` with " + size("common.h") +
                                   " and `console.h` with " + size("console.h") + " lines of code.",
                               "", "Those beyond the seven:", ""});
    for (const auto& line : tables_of(stages_beyond())) lines.push_back(line);
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
