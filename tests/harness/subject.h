// A server that is none of ours, tried by the same tests: see ./tour try. Its profile, a file that
// the environment names as TRY_SUBJECT, says how it is started and what it can do.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

/// Thrown where a test needs what the subject does not have. Whoever runs the tests takes a failure
/// with this text for no failure. `what` completes "not applicable: the test …".
class NotApplicable : public std::runtime_error {
public:
    explicit NotApplicable(const std::string& what);
};

class Subject {
public:
    /// Reads lines of the form "name = value". "word" comes once for each word of the command, in
    /// which {port} stands for the port.
    explicit Subject(const std::string& file);

    /// The stage as which it is judged, and how much slower than one it may be.
    int number() const { return std::stoi(value_or("as", "7")); }
    int patience() const { return std::stoi(value_or("patience", "1")); }
    /// Whether its queue of clients that wait to be accepted has no room for a crowd.
    bool has_short_queue() const { return value_or("backlog", "long") == "short"; }
    bool has(const std::string& name) const { return values_.contains(name); }
    std::string value_or(const std::string& name, const std::string& otherwise) const;

    /// The command for this port, with what stands for these options of the stages. Throws
    /// NotApplicable if an option matters, and the subject has nothing like it.
    std::vector<std::string> command(int port, const std::vector<std::string>& options) const;
    /// The status that it sends in place of this one of the stages', 0 if it closes and sends none.
    /// Throws NotApplicable if the profile does not say.
    int status_for(int status) const;

private:
    std::vector<std::string> words_for(const std::string& option, const std::string& value) const;

    std::vector<std::string> words_;
    std::map<std::string, std::string> values_;
};

/// The server that is tried, or nullptr where the stages are under test.
const Subject* subject();
