// A C++ source as the house style sees it: its definitions by name, and how long each is. No
// parser: it relies on the layout that clang-format gives.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

/// The definitions of a source at namespace level, and those inside a class as "Class::method";
/// each with the comment in front of it, overloads of one name together. Under the class's own name
/// is what else it holds: its fields. Indentation is taken off.
std::map<std::string, std::string> definitions_in(const std::string& source);

/// The names of the same definitions, in the order in which the source has them.
std::vector<std::string> definition_order(const std::string& source);

/// The lines that are neither blank nor comment alone, without indentation and trailing comments.
std::vector<std::string> code_lines(const std::string& source);

/// A function and its length from the first line of its signature to its closing brace.
struct FunctionLength {
    std::string name;
    std::size_t lines;
    std::string text;
};

/// Every function that a source defines.
std::vector<FunctionLength> functions_in(const std::string& source);

/// How many lines the comment has with which a source begins.
std::size_t header_lines(const std::string& source);
