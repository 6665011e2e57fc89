#include "source_text.h"

#include "harness/support.h"

#include <algorithm>
#include <regex>

namespace {

/// A piece of source between two points where all braces are closed.
struct Block {
    std::string comment; ///< the lines of comment in front of it
    std::vector<std::string> lines;
};

std::string without_literals_and_comment(const std::string& line) {
    static const std::regex literal{R"re("(\\.|[^"\\])*"|'(\\.|[^'\\])+')re"};
    const auto bare = std::regex_replace(line, literal, "0");
    return bare.substr(0, bare.find("//"));
}

bool is_comment(const std::string& line) { return line.starts_with("//"); }

bool stands_alone(const std::string& line) {
    return line.starts_with('#') || line.starts_with("namespace") || line.starts_with("} //") ||
           line.starts_with("extern \"C\"") || line == "public:" || line == "private:" ||
           line == "protected:";
}

/// Counts open brackets over the lines of a block, and sees where a definition ends.
class Depth {
public:
    /// True if all is closed with this line and the definition complete.
    bool closes_with(const std::string& line) {
        const auto bare = without_literals_and_comment(line);
        for (const char letter : bare) {
            open_ += letter == '{' || letter == '(' ? 1 : 0;
            open_ -= letter == '}' || letter == ')' ? 1 : 0;
        }
        const auto last = bare.find_last_not_of(' ');
        return open_ == 0 && last != std::string::npos && (bare[last] == ';' || bare[last] == '}');
    }

private:
    int open_ = 0;
};

std::vector<Block> blocks_of(const std::vector<std::string>& lines) {
    std::vector<Block> blocks;
    Block block;
    Depth depth;
    for (const std::string& line : lines) {
        const bool inside = !block.lines.empty();
        if (!inside && (line.empty() || stands_alone(line))) {
            block.comment.clear(); // it was about the section that follows, not a definition
        } else if (!inside && is_comment(line)) {
            block.comment += line + '\n';
        } else {
            block.lines.push_back(line);
            if (!depth.closes_with(line)) continue;
            blocks.push_back(std::move(block));
            block = {};
        }
    }
    return blocks;
}

std::string joined(const std::vector<std::string>& lines) {
    std::string text;
    for (const auto& line : lines) text += line + '\n';
    return text;
}

bool is_class(const Block& block) {
    const auto& first = block.lines.front();
    const bool type = first.starts_with("class ") || first.starts_with("struct ");
    return type && first.ends_with('{');
}

/// The word after `class`, `struct` or `enum class`; else the name in front of the first bracket,
/// with its class where it is given; else that of a variable or an alias.
std::string name_of(const Block& block) {
    const std::string text = joined(block.lines);
    std::smatch match;
    static const std::regex type{R"(^(?:enum )?(?:class|struct|enum) (\w+))"};
    static const std::regex alias{R"(^using (\w+) =)"};
    static const std::regex variable{R"((\w+)(?:\[\w*\])?\s*(?:=|\{|;))"};
    static const std::regex function{R"(((?:\w+::)*(?:~?\w+|operator[^\s(]+))\()"};
    const auto bracket = text.find('(');
    const bool plain = text.find_first_of("={;") < bracket; // comes before any bracket
    if (std::regex_search(text, match, type) || std::regex_search(text, match, alias))
        return match[1];
    if (!plain && std::regex_search(text, match, function)) return match[1];
    return std::regex_search(text, match, variable) ? match[1].str() : text;
}

bool is_function(const Block& block) {
    const std::string text = joined(block.lines);
    static const std::regex type{R"(^(?:enum|class|struct|using|friend) ?)"};
    if (std::regex_search(text, type) || text.find('{') == std::string::npos) return false;
    return text.find('(') < text.find_first_of("={;") && !text.ends_with(";\n");
}

/// The lines between the first and the last of a class, four columns to the left.
std::vector<std::string> inside_of(const Block& block) {
    std::vector<std::string> lines;
    for (std::size_t i = 1; i + 1 < block.lines.size(); ++i) {
        const auto& line = block.lines[i];
        lines.push_back(line.starts_with("    ") ? line.substr(4) : line);
    }
    return lines;
}

/// All blocks of a source with their names; those of classes opened.
std::vector<std::pair<std::string, Block>> named_blocks(const std::string& source) {
    std::vector<std::pair<std::string, Block>> named;
    for (Block& block : blocks_of(lines_of(source))) {
        const auto name = name_of(block);
        if (!is_class(block)) {
            named.emplace_back(name, std::move(block));
            continue;
        }
        Block rest{block.comment, {block.lines.front(), block.lines.back()}};
        for (Block& member : blocks_of(inside_of(block))) {
            if (is_function(member)) {
                named.emplace_back(name + "::" + name_of(member), std::move(member));
            } else {
                rest.lines.push_back(member.comment + joined(member.lines));
            }
        }
        named.emplace_back(name, std::move(rest));
    }
    return named;
}

} // namespace

std::map<std::string, std::string> definitions_in(const std::string& source) {
    std::map<std::string, std::string> definitions;
    for (const auto& [name, block] : named_blocks(source)) {
        definitions[name] += block.comment + joined(block.lines);
    }
    return definitions;
}

std::vector<std::string> definition_order(const std::string& source) {
    std::vector<std::string> names;
    for (const auto& [name, block] : named_blocks(source)) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
}

std::vector<std::string> code_lines(const std::string& source) {
    static const std::regex comment{
        R"re(^((?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])+'|[^"'/]|/(?!/))*)//.*$)re"};
    static const std::regex ends{R"(^\s+|\s+$)"};
    std::vector<std::string> code;
    for (const auto& line : lines_of(source)) {
        const auto bare = std::regex_replace(std::regex_replace(line, comment, "$1"), ends, "");
        if (!bare.empty()) code.push_back(bare);
    }
    return code;
}

std::vector<FunctionLength> functions_in(const std::string& source) {
    std::vector<FunctionLength> functions;
    for (const auto& [name, block] : named_blocks(source)) {
        if (!is_function(block)) continue;
        functions.push_back({name, block.lines.size(), joined(block.lines)});
    }
    return functions;
}

std::size_t header_lines(const std::string& source) {
    const auto lines = lines_of(source);
    const auto end = std::find_if_not(lines.begin(), lines.end(), is_comment);
    return static_cast<std::size_t>(end - lines.begin());
}
