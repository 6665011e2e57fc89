// What the stages owe their readers: files by role, common files that are the same everywhere,
// lines that fit beside a chapter, short functions, and neighbours that differ where the step's
// idea is and nowhere else.

#include "source_text.h"
#include "stages.h"
#include "support.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <ostream>
#include <regex>
#include <set>

namespace {

std::filesystem::path file_of(const Stage& stage, const std::string& name) {
    return std::filesystem::path{SOURCE_DIR} / stage.name / name;
}

std::string source_of(const Stage& stage, const std::string& name = "main.cpp") {
    return read_file(file_of(stage, name));
}

class HouseStyle : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, HouseStyle, testing::ValuesIn(all_stages()), stage_name);

/// The names of a stage's sources, by name.
std::vector<std::string> sources_of(const Stage& stage) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(file_of(stage, ""))) {
        const auto extension = entry.path().extension();
        if (extension == ".cpp" || extension == ".h") names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
}

/// Those of its server: all but bare.cpp.
std::vector<std::string> sources_of_server(const Stage& stage) {
    auto names = sources_of(stage);
    std::erase(names, "bare.cpp");
    return names;
}

TEST_P(HouseStyle, FilesTellTheDesign) {
    std::vector<std::string> expected{"bare.cpp", "common.h", "console.h", "main.cpp"};
    const std::vector<std::string> blocking_roles{"conversation.h"},
        event_roles{"connection.h", "poller.h", "server.h"};
    const auto& roles = stage().number < 4 ? blocking_roles : event_roles;
    expected.insert(expected.end(), roles.begin(), roles.end());
    if (stage().number >= 6) expected.emplace_back("segments.h");
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
    for (const auto& target : targets)
        EXPECT_TRUE(std::filesystem::exists(file_of(stage(), target))) << target;
    std::set<std::string> expected{"bare.cpp", "main.cpp", "../docs/" + stage().name + ".md"};
    for (const Stage& other : all_stages())
        if (std::abs(other.number - stage().number) == 1) expected.insert("../" + other.name + '/');
    if (stage().number == 7) expected.insert("../docs/where_next.md");
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
    if (stage().number < 7) { // who lifts the limit; and whom this stage follows
        const auto next = stages(stage().number + 1).front().name;
        EXPECT_NE(header.find(next), std::string::npos) << next;
    }
    if (stage().number > 1) {
        const auto previous = stages(stage().number - 1).front().name;
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

/// The definitions of a bare program, but for main().
std::map<std::string, std::string> helpers_of_bare(const Stage& stage) {
    auto definitions = definitions_in(source_of(stage, "bare.cpp"));
    std::erase_if(definitions, [](const auto& each) { return each.first == "main"; });
    return definitions;
}

/// A step from one stage to the next.
struct Step {
    int from;
    /// What the step is about: the definitions, "FILE: NAME", that both stages have and that
    /// differ. poller.h is what 04 to 07 are about, so what differs in it is not listed.
    std::set<std::string> changed;
};

void PrintTo(const Step& step, std::ostream* out) { *out << "step from stage " << step.from; }

std::vector<Step> steps() {
    return {
        // How a request is printed, and the loop.
        {1, {"main.cpp: main", "main.cpp: serve", "conversation.h: print_request"}},
        // Each client gets its thread, and the main thread looks around from time to time.
        {2,
         {"main.cpp: main", "main.cpp: serve", "main.cpp: stop", "main.cpp: listen_on",
          "main.cpp: accept_client", "main.cpp: retry_pause"}},
        // Sockets that do not block, and signals that come during a wait only.
        {3,
         {"main.cpp: main", "main.cpp: serve", "main.cpp: stop", "main.cpp: stop_requested",
          "main.cpp: handle_signals", "main.cpp: listen_on"}},
        // The wait. And select()'s 503 is gone.
        {4, {"main.cpp: main", "server.h: Server::admit"}},
        // The wait. And the options about segments.
        {5, {"main.cpp: main", "main.cpp: listen_on", "connection.h: Connection::send_response"}},
        // Edges. And --defer-accept.
        {6, {"main.cpp: main", "main.cpp: listen_on", "server.h: Server::admit"}},
    };
}

class Steps : public testing::TestWithParam<Step> {
protected:
    static Stage before() { return stages(GetParam().from).front(); }
    static Stage after() { return stages(GetParam().from + 1).front(); }
};

std::string step_name(const testing::TestParamInfo<Step>& parameter) {
    const int from = parameter.param.from;
    return '0' + std::to_string(from) + "_to_0" + std::to_string(from + 1);
}

INSTANTIATE_TEST_SUITE_P(, Steps, testing::ValuesIn(steps()), step_name);

/// The sources that both stages of the step have.
std::vector<std::string> shared_sources(const Stage& before, const Stage& after) {
    const auto old_ones = sources_of_server(before), new_ones = sources_of_server(after);
    std::vector<std::string> shared;
    std::set_intersection(old_ones.begin(), old_ones.end(), new_ones.begin(), new_ones.end(),
                          std::back_inserter(shared));
    return shared;
}

TEST_P(Steps, OnlyWhatTheStepIsAboutChanges) {
    std::set<std::string> changed;
    std::size_t shared = 0;
    for (const auto& file : shared_sources(before(), after())) {
        if (file == "poller.h") continue;
        const auto old_ones = definitions_in(source_of(before(), file));
        for (const auto& [name, text] : definitions_in(source_of(after(), file))) {
            const auto old = old_ones.find(name);
            if (old == old_ones.end()) continue;
            ++shared;
            if (old->second != text) changed.insert(file + ": " + name);
        }
    }
    EXPECT_GE(shared, 40U);
    EXPECT_EQ(changed, GetParam().changed);
}

// What two bare programs both have is the same; 07's control() asks for edges.
TEST_P(Steps, BareProgramsShareTheirHelpers) {
    const auto old_ones = helpers_of_bare(before());
    std::size_t shared = 0;
    for (const auto& [name, text] : helpers_of_bare(after())) {
        const auto old = old_ones.find(name);
        if (old == old_ones.end() || (name == "control" && GetParam().from == 6)) continue;
        ++shared;
        EXPECT_EQ(old->second, text) << name;
    }
    EXPECT_GE(shared, 2U);
}

// So that the two can be read side by side.
TEST_P(Steps, SharedDefinitionsStandInTheSameOrder) {
    for (const auto& file : shared_sources(before(), after())) {
        const auto old_ones = definition_order(source_of(before(), file));
        const auto new_ones = definition_order(source_of(after(), file));
        const auto only_shared = [](std::vector<std::string> names, const auto& others) {
            std::erase_if(names, [&](const auto& name) {
                return std::find(others.begin(), others.end(), name) == others.end();
            });
            return names;
        };
        EXPECT_EQ(only_shared(old_ones, new_ones), only_shared(new_ones, old_ones)) << file;
    }
}

} // namespace
