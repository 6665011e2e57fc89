#include "pages.h"

#include "harness/child_process.h"
#include "harness/support.h"

#include <fstream>
#include <iostream>
#include <map>

namespace fs = std::filesystem;

namespace {

bool update_wanted = false;
std::string page_wanted;

struct Replacement {
    std::size_t count;
    std::vector<std::string> lines;
};

/// By page, and in it by line from the last one to the first: so the others keep their numbers.
std::map<fs::path, std::map<std::size_t, Replacement, std::greater<>>> replacements;

/// How two texts differ, as diff(1) shows it.
std::string difference(const std::string& written, const std::string& right) {
    const TemporaryFolder folder;
    std::ofstream(folder.path() / "a") << written;
    std::ofstream(folder.path() / "b") << right;
    return run_command({"diff", "-U2", "--label", "in the docs", "--label", "in fact",
                        folder.path() / "a", folder.path() / "b"})
        .out;
}

} // namespace

void PageTest::fail_at(std::size_t line, const std::string& message) const {
    ADD_FAILURE_AT(page.file.c_str(), static_cast<int>(line)) << message;
}

std::string page_name(const testing::TestParamInfo<fs::path>& parameter) {
    const std::string name = parameter.param.stem();
    const bool second = name == "README" && parameter.param.parent_path().filename() == "docs";
    return second ? "docs_README" : name;
}

void set_update(bool update) { update_wanted = update; }
bool updating() { return update_wanted; }
void set_only_page(const std::string& part) { page_wanted = part; }
const std::string& only_page() { return page_wanted; }

void expect_lines(const Page& page, std::size_t line, const std::vector<std::string>& written,
                  const std::vector<std::string>& right, const std::string& what) {
    if (written == right) return;
    if (updating()) {
        replacements[page.file][line] = {written.size(), right};
        return;
    }
    ADD_FAILURE_AT(page.file.c_str(), static_cast<int>(line))
        << what << '\n'
        << difference(joined_lines(written), joined_lines(right))
        << "'./tour docs --update' writes it anew.";
}

void write_updates() {
    for (const auto& [file, all] : replacements) {
        auto lines = read_page(file).lines;
        for (const auto& [line, replacement] : all) {
            const auto first = lines.begin() + static_cast<std::ptrdiff_t>(line) - 1;
            const auto place =
                lines.erase(first, first + static_cast<std::ptrdiff_t>(replacement.count));
            lines.insert(place, replacement.lines.begin(), replacement.lines.end());
            std::cout << file.string() << ':' << line << ": written anew\n";
        }
        std::ofstream(file) << joined_lines(lines);
    }
}
