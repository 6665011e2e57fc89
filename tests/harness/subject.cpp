#include "subject.h"

#include "support.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <sstream>

namespace {

std::string trimmed(const std::string& text) {
    const auto first = text.find_first_not_of(" \t");
    return first == std::string::npos
               ? ""
               : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

void replace_all(std::string& text, const std::string& what, const std::string& by) {
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
        text.replace(at, what.size(), by);
}

/// A timeout that is only there to be out of reach.
constexpr double no_limit = 100; // seconds

} // namespace

NotApplicable::NotApplicable(const std::string& what)
    : std::runtime_error("not applicable: the test " + what) {}

Subject::Subject(const std::string& file) {
    for (const auto& line : lines_of(read_file(file))) {
        const auto equals = line.find('=');
        if (equals == std::string::npos) throw std::runtime_error(file + ": no '=' in: " + line);
        const auto name = trimmed(line.substr(0, equals));
        const auto value = trimmed(line.substr(equals + 1));
        if (name == "word") words_.push_back(value);
        else values_[name] = value;
    }
    if (words_.empty()) throw std::runtime_error(file + ": no command");
}

std::string Subject::value_or(const std::string& name, const std::string& otherwise) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
}

std::vector<std::string> Subject::words_for(const std::string& option,
                                            const std::string& value) const {
    if (option == "--quiet") return {}; // it matters for the stages' own output alone
    std::string name = option.substr(2) + "_option";
    std::replace(name.begin(), name.end(), '-', '_');
    if (has(name)) {
        std::string text = values_.at(name);
        replace_all(text, "{value}", value);
        std::istringstream stream{text};
        std::vector<std::string> words;
        for (std::string word; stream >> word;) words.push_back(word);
        return words;
    }
    if (option == "--timeout" && std::stod(value) >= no_limit) return {};
    throw NotApplicable("needs " + option + ", and the profile has no " + name);
}

std::vector<std::string> Subject::command(int port, const std::vector<std::string>& options) const {
    auto command = words_;
    for (std::size_t i = 0; i < options.size(); ++i) {
        const bool has_value = i + 1 < options.size() && !options[i + 1].starts_with("--");
        const auto words = words_for(options[i], has_value ? options[i + 1] : "");
        command.insert(command.end(), words.begin(), words.end());
        if (has_value) ++i;
    }
    for (auto& word : command) replace_all(word, "{port}", std::to_string(port));
    return command;
}

int Subject::status_for(int status) const {
    const std::map<int, std::string> names{{408, "too_late"}, {431, "too_long"}};
    const auto name = names.find(status);
    if (name == names.end()) return status;
    if (status == 431 && value_or("max_head", "") != "8192")
        throw NotApplicable("is about a limit of 8,192 bytes, and max_head is another or none");
    if (!has(name->second))
        throw NotApplicable("is about a status of its own, and the profile has no " + name->second);
    const auto& value = values_.at(name->second);
    return value == "closed" ? 0 : std::stoi(value);
}

const Subject* subject() {
    static const std::unique_ptr<const Subject> tried = [] {
        const char* file = std::getenv("TRY_SUBJECT");
        return file == nullptr ? nullptr : std::make_unique<const Subject>(file);
    }();
    return tried.get();
}
