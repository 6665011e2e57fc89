// What the stages owe their readers: files by role, common files that are the same everywhere,
// lines that fit beside a chapter, short functions. And what the tests owe theirs: that one finds
// them.

#include "harness/stages.h"
#include "harness/support.h"
#include "source_text.h"
#include "stage_sources.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

class HouseStyle : public StageTest {};

/// The stage from which one goes on to this one.
int stage_before(const Stage& stage) { return std::min(stage.number - 1, last_of_path); }

INSTANTIATE_TEST_SUITE_P(, HouseStyle, testing::ValuesIn(all_stages()), stage_name);

TEST_P(HouseStyle, FilesTellTheDesign) {
    std::vector<std::string> expected{"bare.cpp", "common.h", "console.h", "main.cpp"};
    const std::vector<std::string> blocking_roles{"conversation.h"},
        event_roles{"connection.h", "poller.h", "server.h"};
    const auto& roles = stage().number < 4 ? blocking_roles : event_roles;
    expected.insert(expected.end(), roles.begin(), roles.end());
    if (stage().number >= 6) expected.emplace_back("segments.h");
    if (stage().number == 8) expected.insert(expected.end(), {"store.h", "workers.h"});
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(sources_of(stage()), expected);
}

// Four lines: what the stage shows, how to run it, its chapter, its neighbours.
TEST_P(HouseStyle, ReadmeLeadsOn) {
    static const std::regex link{R"(\]\(([^)#]+)\))"};
    std::set<std::string> targets;
    std::size_t points = 0;
    for (const auto& line : lines_of(source_of(stage(), "README.md"))) {
        if (line.starts_with("- ")) ++points;
        for (std::sregex_iterator each(line.begin(), line.end(), link), end; each != end; ++each)
            targets.insert((*each)[1]);
    }
    EXPECT_EQ(points, 4U);
    for (const auto& target : targets) EXPECT_TRUE(fs::exists(file_of(stage(), target))) << target;
    const bool is_beyond = stage().number > last_of_path;
    const std::string root = is_beyond ? "../../" : "../";
    std::set<std::string> expected{"bare.cpp", "main.cpp", root + "docs/" + stage().name + ".md"};
    for (const Stage& other : stages_of_path()) {
        const int before = is_beyond ? stage_before(stage()) : stage().number - 1;
        const int after = is_beyond ? 0 : stage().number + 1;
        if (other.number == before || other.number == after)
            expected.insert(root + other.name + '/');
    }
    if (stage().number >= last_of_path) expected.insert(root + "docs/reference/where_next.md");
    EXPECT_EQ(targets, expected);
}

TEST_P(HouseStyle, CommonFilesAreTheSameEverywhere) {
    for (const char* name : {"common.h", "console.h", ".clang-format"}) {
        const auto common = source_of(stage(), name);
        EXPECT_FALSE(common.empty()) << name;
        EXPECT_TRUE(common == source_of(stages(1, 1).front(), name)) << name;
    }
}

// A chapter, or the stage before, has to fit beside it.
TEST_P(HouseStyle, NothingPastColumn80) {
    auto names = sources_of(stage());
    names.emplace_back("CMakeLists.txt");
    for (const auto& name : names) {
        std::size_t number = 0;
        for (const auto& line : lines_of(source_of(stage(), name))) {
            ++number;
            EXPECT_LE(line.size(), 80U) << stage().name << '/' << name << ':' << number;
        }
    }
}

TEST_P(HouseStyle, Header) {
    const auto source = source_of(stage());
    const auto length = header_lines(source);
    EXPECT_GE(length, 8U);
    EXPECT_LE(length, 15U);
    EXPECT_TRUE(source.starts_with("// " + stage().name + ": "));
    auto lines = lines_of(source);
    lines.resize(length);
    std::string header;
    for (const auto& line : lines) header += line + '\n';
    EXPECT_NE(header.find("$ ./tour run " + stage().name.substr(0, 2)), std::string::npos);
    EXPECT_NE(header.find("Limit"), std::string::npos);
    if (stage().number < last_of_path) { // who lifts the limit; and whom this stage follows
        const auto next = stages(stage().number + 1).front().name;
        EXPECT_NE(header.find(next), std::string::npos) << next;
    }
    if (stage().number > 1) {
        const auto previous = stages(stage_before(stage())).front().name;
        EXPECT_NE(header.find(previous), std::string::npos) << previous;
    }
}

/// The function that waits for readiness is the event loop; it may be somewhat longer.
std::size_t allowed_lines(const FunctionLength& function) {
    for (const char* wait : {"::pselect(", "::ppoll(", "::epoll_pwait("}) {
        if (function.text.find(wait) != std::string::npos) return 40;
    }
    return 30;
}

TEST_P(HouseStyle, FunctionsAreShort) {
    for (const auto& file : sources_of_server(stage())) {
        const auto functions = functions_in(source_of(stage(), file));
        EXPECT_GE(functions.size(), 3U) << file;
        for (const auto& function : functions) {
            EXPECT_LE(function.lines, allowed_lines(function)) << file << ": " << function.name;
        }
    }
}

/// A fault that the header of a bare program may name, by the words with which it begins, and
/// whether the comparison shows it.
struct NamedFault {
    std::string words;
    bool (*is_shown)(const Stage& bare, const Stage& server);
};

const std::vector<NamedFault> named_faults{
    {"A client says nothing",
     [](const Stage& bare, const Stage& server) { return bare.silence != server.silence; }},
    {"A client sends no blank line",
     [](const Stage& bare, const Stage& server) {
         return bare.head_too_long != server.head_too_long;
     }},
    {"A client leaves",
     [](const Stage& bare, const Stage& server) { return bare.after_a_fin != server.after_a_fin; }},
    {"A client resets its connection",
     [](const Stage& bare, const Stage& server) {
         // 01 ends whatever its one client does.
         return bare.after_a_reset != server.after_a_reset || bare.number == 1;
     }},
    {"There are more clients than descriptors",
     [](const Stage& bare, const Stage& server) {
         return bare.number >= 3 && bare.out_of_descriptors != server.out_of_descriptors;
     }},
    {"There are more than 1,000 clients",
     [](const Stage& bare, const Stage& server) {
         return bare.clients_held_open != server.clients_held_open;
     }},
    {"Ctrl-Z stops the program",
     [](const Stage& bare, const Stage& server) {
         return bare.after_a_stop != server.after_a_stop;
     }},
    {"The disk is slow",
     [](const Stage& bare, const Stage& server) {
         return bare.beside_slow_disk != server.beside_slow_disk;
     }},
    {"While a request is stored",
     [](const Stage& bare, const Stage& server) {
         return bare.after_a_left_job != server.after_a_left_job;
     }},
};

// The comparison shows that each is there, and it fails where a program is better than expected.
TEST_P(HouseStyle, BareProgramNamesItsFaults) {
    const Stage bare = bare_programs(stage().number).front();
    std::vector<std::string> named, shown;
    for (const auto& line : lines_of(source_of(stage(), "bare.cpp"))) {
        if (!line.starts_with("//   - ")) continue;
        const auto text = line.substr(7);
        const auto fault =
            std::find_if(named_faults.begin(), named_faults.end(),
                         [&](const NamedFault& each) { return text.starts_with(each.words); });
        named.push_back(fault == named_faults.end() ? text : fault->words);
    }
    for (const auto& fault : named_faults)
        if (fault.is_shown(bare, stage())) shown.push_back(fault.words);
    EXPECT_EQ(named, shown);
}

/// The sources of the tests: their paths below tests/.
std::vector<fs::path> sources_of_tests() {
    const auto folder = fs::path{SOURCE_DIR} / "tests";
    std::vector<fs::path> sources;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        const auto extension = entry.path().extension();
        if (extension == ".cpp" || extension == ".h")
            sources.push_back(fs::relative(entry.path(), folder));
    }
    return sources;
}

std::string source_of_test(const fs::path& path) {
    return read_file(fs::path{SOURCE_DIR} / "tests" / path);
}

/// "LateServer" of "serving/late_server_test.cpp".
std::string suite_of(const fs::path& file) {
    std::string name;
    bool starts_word = true;
    for (const char letter : file.stem().string()) {
        if (letter != '_') name += static_cast<char>(starts_word ? std::toupper(letter) : letter);
        starts_word = letter == '_';
    }
    return name.substr(0, name.rfind("Test"));
}

// So that a failed test's name says where it stands.
TEST(HouseStyleOfTests, SuitesBeginAsTheirFiles) {
    static const std::regex definition{R"re(\nTEST(?:_P|_F)?\((\w+),)re"};
    std::size_t suites = 0;
    for (const auto& file : sources_of_tests()) {
        if (!file.stem().string().ends_with("_test")) continue;
        const auto text = source_of_test(file);
        for (std::sregex_iterator each(text.begin(), text.end(), definition), end; each != end;
             ++each, ++suites) {
            const auto suite = (*each)[1].str();
            EXPECT_TRUE(suite.starts_with(suite_of(file))) << file << " has a suite " << suite;
        }
    }
    EXPECT_GE(suites, 100U);
}

/// A part of the tests is a header with its .cpp: "harness/support". Adds the parts that one uses,
/// by itself and through others.
void add_used(const fs::path& part, std::set<fs::path>& used) {
    static const std::regex include{R"re(#include "([^"]+)\.h")re"};
    const auto text = source_of_test(part.string() + ".h") + source_of_test(part.string() + ".cpp");
    for (std::sregex_iterator each(text.begin(), text.end(), include), end; each != end; ++each) {
        const fs::path name{(*each)[1].str()};
        const auto beside = part.parent_path() / name;
        const auto found = source_of_test(beside.string() + ".h").empty() ? name : beside;
        if (found != part && used.insert(found).second) add_used(found, used);
    }
}

TEST(HouseStyleOfTests, NoTwoPartsUseEachOther) {
    std::size_t parts = 0;
    for (const auto& header : sources_of_tests()) {
        if (header.extension() != ".h") continue;
        ++parts;
        const auto part = fs::path{header}.replace_extension();
        std::set<fs::path> used;
        add_used(part, used);
        for (const auto& each : used) {
            std::set<fs::path> back;
            add_used(each, back);
            EXPECT_FALSE(back.contains(part)) << part << " and " << each;
        }
    }
    EXPECT_GE(parts, 15U);
}

// "Where is the test for ...?": every file of tests is there.
TEST(HouseStyleOfTests, ReadmeLeadsToEveryFile) {
    const auto readme = source_of_test("README.md");
    for (const auto& file : sources_of_tests()) {
        if (!file.stem().string().ends_with("_test")) continue;
        EXPECT_NE(readme.find("](" + file.string() + ")"), std::string::npos) << file;
    }
    static const std::regex link{R"(\]\(([^)#]+)\))"};
    for (std::sregex_iterator each(readme.begin(), readme.end(), link), end; each != end; ++each)
        EXPECT_TRUE(fs::exists(fs::path{SOURCE_DIR} / "tests" / (*each)[1].str())) << each->str();
}

/// What `./tour` and its commands say that they need, as names of packages.
std::set<std::string> packages_needed() {
    static const std::regex need{R"((?:\n +|=\()'[^'|]+\|([^'|]+)\|)"};
    std::set<std::string> packages;
    std::string text = read_file(fs::path{SOURCE_DIR} / "tour");
    for (const char* folder : {"bench", "docs", "tests"})
        for (const auto& entry : fs::recursive_directory_iterator(fs::path{SOURCE_DIR} / folder))
            if (entry.path().extension() == ".bash") text += read_file(entry.path());
    for (std::sregex_iterator each(text.begin(), text.end(), need), end; each != end; ++each)
        packages.insert((*each)[1]);
    return packages;
}

// A reader without Linux has them all.
TEST(HouseStyleOfTests, ContainerHasWhatTheTourNeeds) {
    const auto container = read_file(fs::path{SOURCE_DIR} / ".devcontainer/Dockerfile");
    const auto packages = packages_needed();
    EXPECT_GE(packages.size(), 25U);
    for (const auto& package : packages)
        EXPECT_NE(container.find(' ' + package + '='), std::string::npos) << package;
}

/// A script and what it reads in: the lines `source FILE` in it.
std::string with_what_it_reads(const std::string& file) {
    static const std::regex reads{R"(\nsource (\S+)\n)"};
    auto text = read_file(fs::path{SOURCE_DIR} / file);
    const auto own = text;
    for (std::sregex_iterator each(own.begin(), own.end(), reads), end; each != end; ++each)
        text += with_what_it_reads((*each)[1].str());
    return text;
}

/// The functions and lists of needs that a script defines, or those that it uses.
std::set<std::string> names_in(const std::string& script, const std::regex& pattern) {
    std::set<std::string> names;
    for (std::sregex_iterator each(script.begin(), script.end(), pattern), end; each != end; ++each)
        names.insert((*each)[1]);
    return names;
}

// Each command of ./tour reads a script of its own. What one of them defines, the others do not
// have.
TEST(HouseStyleOfTests, CommandsHaveWhatTheyCall) {
    static const std::regex command{R"(source (\S+\.bash) &&)"};
    static const std::regex defined{R"(\n(\w+)(?:\(\) \{|=\())"};
    static const std::regex used{R"((?:\n *|\|\| |&& |then |else |"\$\{)(\w+)(?=[ \n\[]))"};
    const auto tour = read_file(fs::path{SOURCE_DIR} / "tour");
    const auto files = names_in(tour, command);
    EXPECT_GE(files.size(), 8U);
    std::set<std::string> somewhere = names_in(tour, defined);
    for (const auto& file : files) somewhere.merge(names_in(with_what_it_reads(file), defined));
    for (const auto& file : files) {
        const auto script = with_what_it_reads(file);
        const auto known = names_in(tour + script, defined);
        for (const auto& name : names_in(script, used))
            EXPECT_TRUE(known.contains(name) || !somewhere.contains(name)) << file << ": " << name;
    }
}

} // namespace
