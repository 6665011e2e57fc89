// What every part of the suite needs: a descriptor that closes itself, reading a file, a folder
// that goes away again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

/// Throws std::system_error with errno and the name of the call if `result` is negative.
int checked(int result, const char* call);

/// Owns a descriptor: closes it when it goes. -1 stands for none.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int number) : number_{number} {}
    Descriptor(Descriptor&& other) noexcept : number_{std::exchange(other.number_, -1)} {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~Descriptor() { close(); }

    int number() const { return number_; }
    void close();

private:
    int number_ = -1;
};

/// The whole content of a file, "" if it cannot be read (a process under /proc that has gone).
std::string read_file(const std::filesystem::path& path);

/// The state letter in the content of a stat file in /proc, the first word after the command in
/// parentheses (proc(5)); '?' if it has none.
char state_in(const std::string& stat);

/// What an open file holds from its first byte on; the file's own position stays where it is.
std::string read_from_start(int descriptor);

/// The lines of a text, without their ends.
std::vector<std::string> lines_of(const std::string& text);

/// Writes `count` followed by `noun`, with an s where it is not one: "1 thread", "51 threads".
std::string counted(std::uint64_t count, const std::string& noun);

/// A new folder under the system's temporary folder, removed with all it holds.
class TemporaryFolder {
public:
    TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder();

    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};
