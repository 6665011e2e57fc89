// Each stage needs nothing outside its own folder: a copy of the folder builds by itself, with
// CMake and with the compiler alone. A sanitizer would add nothing but time.

#include "harness/assertions.h"
#include "harness/time_limits.h"

#include <filesystem>
#include <regex>

namespace {

namespace fs = std::filesystem;

class Standalone : public StageTest {
protected:
    Standalone() {
        fs::copy(fs::path{SOURCE_DIR} / stage().folder(), copy(), fs::copy_options::recursive);
    }

    fs::path copy() const { return folder_.path() / stage().name; }

    /// Runs one step of a build in the copy; it must succeed without a warning.
    void expect_step(const std::vector<std::string>& command) const {
        const auto result = run_command(command, {.folder = copy()}, 10 * patience);
        EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
        EXPECT_EQ((result.out + result.err).find("warning:"), std::string::npos)
            << result.out << result.err;
    }

    static void expect_runs(const fs::path& program) {
        const auto result = run_command({program, "--help"});
        EXPECT_EQ(result.exit_code, 0) << result.err;
        EXPECT_NE(result.out.find("--body-bytes"), std::string::npos) << result.out;
    }

    /// The file of this name that the build has made; an empty path if there is none.
    fs::path built(const std::string& name) const {
        for (const auto& entry : fs::recursive_directory_iterator(copy() / "build")) {
            if (entry.is_regular_file() && entry.path().filename() == name) return entry;
        }
        return {};
    }

    /// The flags of the command that compiles main.cpp, from Ninja's compilation database, without
    /// those that name files or change what the compiler says and not what it makes.
    static std::string flags_that_matter(const std::string& database) {
        std::smatch command;
        const std::regex compiling{"\"command\": \"[^ ]+( [^\"]*-c [^\"]*main\\.cpp)\""};
        if (!std::regex_search(database, command, compiling)) return "no command compiles main.cpp";
        const std::regex harmless{" *(-W[^ ]*|-M[DTF]( [^ ]+\\.o(\\.d)?)?|-[oc] [^ ]+)"},
            space{" +"};
        const auto flags = std::regex_replace(command[1].str(), harmless, "");
        return std::regex_replace(flags, space, " "); // how many there are is CMake's own affair
    }

private:
    TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(, Standalone, testing::ValuesIn(all_stages()), stage_name);

TEST_P(Standalone, BuildsWithItsOwnCMake) {
    expect_step({CMAKE_COMMAND, "-S", ".", "-B", "build", "-G", "Ninja",
                 std::string{"-DCMAKE_CXX_COMPILER="} + CXX_COMPILER, "-DCMAKE_BUILD_TYPE="});
    expect_step({CMAKE_COMMAND, "--build", "build"});
    expect_runs(built(stage().name));
    // And so it does with `g++ -std=c++20 main.cpp`: all that CMake added are warnings (another
    // flag would show here), and linking asks for no library by name, but for the database of 08.
    const auto compiled = run_command({"ninja", "-C", "build", "-t", "compdb"}, {.folder = copy()});
    EXPECT_EQ(flags_that_matter(compiled.out), " -std=c++20") << compiled.out << compiled.err;
    std::vector<std::string> link{CXX_COMPILER, built("main.cpp.o"), "-o", "alone"};
    if (stage().profile.keeps_requests) link.emplace_back("-lsqlite3");
    expect_step(link);
    expect_runs(copy() / "alone");
}

} // namespace
