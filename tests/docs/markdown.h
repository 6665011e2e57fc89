// A page of the docs as its checks see it: blocks of code, prose, links, comments, anchors. No
// parser of all of Markdown: it knows the forms in which these docs are written.
#pragma once

#include <cstddef>
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

/// A text and the line it stands on, counted from 1.
struct Place {
    std::size_t line;
    std::string text;
};

/// A block between two lines of ```.
struct Fence {
    std::size_t line;               ///< of the opening ```
    std::vector<std::string> words; ///< behind it: {"cpp", "06_epoll_level/main.cpp"}
    std::vector<std::string> lines; ///< of its content

    bool is(const std::string& kind) const { return !words.empty() && words.front() == kind; }
};

struct Page {
    std::filesystem::path file;
    std::vector<std::string> lines;
    std::vector<Fence> fences;
    std::vector<Place> prose; ///< the lines outside all fences

    /// What stands between single backticks.
    std::vector<Place> code_spans() const;
    /// The targets of links and pictures.
    std::vector<Place> links() const;
    /// The words of each comment that starts with `keyword`, without it.
    std::vector<Place> comments(const std::string& keyword) const;
    /// What a link's #fragment can name: the headings as GitHub writes them.
    std::set<std::string> anchors() const;
    std::vector<std::string> headings() const;
    /// The line of the heading that a #fragment names, and that of the next one of its level or
    /// above, or one past the end. Of two headings with the same text, the first.
    std::pair<std::size_t, std::size_t> section(const std::string& anchor) const;
};

/// A heading as it is named in a link: GitHub leaves out what is no letter, digit, "-" or "_".
std::string anchor_of(const std::string& heading);

Page read_page(const std::filesystem::path& file);

/// README.md and docs/*.md, in this order, by name.
std::vector<std::filesystem::path> page_files();
/// The pages of the exercises, and the one that lists them, in order.
std::vector<std::filesystem::path> exercise_files();

std::vector<std::string> words_of(const std::string& text);
std::string joined_lines(const std::vector<std::string>& lines);
