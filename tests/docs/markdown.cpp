#include "markdown.h"

#include "harness/support.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <map>
#include <regex>
#include <sstream>

namespace fs = std::filesystem;

namespace {

/// All that the expression's first group matches in the prose.
std::vector<Place> matches(const std::vector<Place>& prose, const std::regex& expression) {
    std::vector<Place> found;
    for (const auto& [line, text] : prose) {
        for (std::sregex_iterator match(text.begin(), text.end(), expression), end; match != end;
             ++match)
            found.push_back({line, (*match)[1]});
    }
    return found;
}

} // namespace

std::string anchor_of(const std::string& heading) {
    std::string anchor;
    for (const char letter : heading) {
        const auto byte = static_cast<unsigned char>(letter);
        if (letter == ' ') anchor += '-';
        else if (std::isalnum(byte) != 0 || byte >= 0x80 || letter == '-' || letter == '_')
            anchor += static_cast<char>(std::tolower(byte));
    }
    return anchor;
}

std::vector<Place> Page::code_spans() const {
    static const std::regex span{"`([^`]+)`"};
    return matches(prose, span);
}

std::vector<Place> Page::links() const {
    static const std::regex link{R"(\]\(([^)\s]+)\))"}, tag{R"re((?:src|href)="([^"]+)")re"};
    auto found = matches(prose, link);
    const auto tags = matches(prose, tag);
    found.insert(found.end(), tags.begin(), tags.end());
    return found;
}

std::vector<Place> Page::comments(const std::string& keyword) const {
    return matches(prose, std::regex{"<!-- " + keyword + " (.*?) -->"});
}

std::vector<std::string> Page::headings() const {
    std::vector<std::string> found;
    for (const auto& [line, text] : prose) {
        const auto start = text.find_first_not_of('#');
        if (start > 0 && start < 7 && text[start] == ' ') found.push_back(text.substr(start + 1));
    }
    return found;
}

std::pair<std::size_t, std::size_t> Page::section(const std::string& anchor) const {
    std::size_t first = 0, level = 0;
    for (const auto& [line, text] : prose) {
        const auto marks = text.find_first_not_of('#');
        if (marks == 0 || marks > 6 || text[marks] != ' ') continue;
        if (first > 0 && marks <= level) return {first, line};
        if (first > 0 || anchor_of(text.substr(marks + 1)) != anchor) continue;
        first = line;
        level = marks;
    }
    return {first, lines.size() + 1};
}

std::set<std::string> Page::anchors() const {
    std::set<std::string> names;
    std::map<std::string, int> times;
    for (const auto& heading : headings()) {
        const auto anchor = anchor_of(heading);
        const int before = times[anchor]++;
        names.insert(before == 0 ? anchor : anchor + '-' + std::to_string(before));
    }
    return names;
}

Page read_page(const fs::path& file) {
    Page page{file, lines_of(read_file(file)), {}, {}};
    bool inside = false;
    for (std::size_t i = 0; i < page.lines.size(); ++i) {
        const auto& line = page.lines[i];
        const bool mark = line.starts_with("```");
        if (mark && !inside) page.fences.push_back({i + 1, words_of(line.substr(3)), {}});
        else if (inside && !mark) page.fences.back().lines.push_back(line);
        else if (!mark) page.prose.push_back({i + 1, line});
        inside = inside != mark;
    }
    return page;
}

namespace {

/// The pages in these folders, in order.
std::vector<fs::path> pages_in(std::initializer_list<const char*> folders) {
    std::vector<fs::path> files;
    for (const char* folder : folders) {
        for (const auto& entry : fs::directory_iterator(fs::path{SOURCE_DIR} / folder)) {
            if (entry.path().extension() == ".md") files.push_back(entry.path());
        }
    }
    std::sort(files.begin(), files.end());
    return files;
}

} // namespace

std::vector<fs::path> exercise_files() { return pages_in({"docs/exercises"}); }

std::vector<fs::path> page_files() {
    auto files = pages_in({"docs", "docs/reference"});
    files.insert(files.begin(), fs::path{SOURCE_DIR} / "README.md");
    return files;
}

std::vector<std::string> words_of(const std::string& text) {
    std::istringstream stream(text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

std::string joined_lines(const std::vector<std::string>& lines) {
    std::string text;
    for (const auto& line : lines) text += line + '\n';
    return text;
}
