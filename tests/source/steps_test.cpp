// What a step owes its readers: two neighbours differ where the step's idea is, and nowhere else.

#include "harness/child_process.h"
#include "harness/stages.h"
#include "source_text.h"
#include "stage_sources.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <vector>

namespace {

/// The definitions of a bare program, but for main().
std::map<std::string, std::string> helpers_of_bare(const Stage& stage) {
    auto definitions = definitions_in(source_of(stage, "bare.cpp"));
    std::erase_if(definitions, [](const auto& each) { return each.first == "main"; });
    return definitions;
}

/// A step from one stage to the next, or from one of the seven to one beyond them.
struct Step {
    int from, to;
    /// What the step is about: the definitions, "FILE: NAME", that both stages have and that
    /// differ. poller.h is what 04 to 07 are about, so what differs in it is not listed.
    std::set<std::string> changed;
};

void PrintTo(const Step& step, std::ostream* out) {
    *out << "step from stage " << step.from << " to " << step.to;
}

std::vector<Step> steps() {
    return {
        // How a request is printed, and the loop.
        {1, 2, {"main.cpp: main", "main.cpp: serve", "conversation.h: print_request"}},
        // Each client gets its thread, and the main thread looks around from time to time.
        {2,
         3,
         {"main.cpp: main", "main.cpp: serve", "main.cpp: stop", "main.cpp: listen_on",
          "main.cpp: accept_client", "main.cpp: retry_pause"}},
        // Sockets that do not block, and signals that come during a wait only.
        {3,
         4,
         {"main.cpp: main", "main.cpp: serve", "main.cpp: stop", "main.cpp: stop_requested",
          "main.cpp: handle_signals", "main.cpp: listen_on"}},
        // The wait. And select()'s 503 is gone.
        {4, 5, {"main.cpp: main", "server.h: Server::admit"}},
        // The wait. And the options about segments.
        {5,
         6,
         {"main.cpp: main", "main.cpp: listen_on", "connection.h: Connection::send_response"}},
        // Edges. And --defer-accept.
        {6, 7, {"main.cpp: main", "main.cpp: listen_on", "server.h: Server::admit"}},
        // A state in which a connection waits for the workers, and their eventfd.
        {7,
         8,
         {"main.cpp: main", "main.cpp: serve", "main.cpp: stop_requested",
          "main.cpp: add_stage_options", "connection.h: State", "connection.h: Connection",
          "connection.h: Connection::Connection", "connection.h: Connection::make_call",
          "connection.h: Connection::handle_deadline", "connection.h: Connection::receive_head",
          "server.h: Server", "server.h: Server::Server", "server.h: Server::handle_ready",
          "server.h: Server::admit"}},
    };
}

class Steps : public testing::TestWithParam<Step> {
protected:
    static Stage before() { return stages(GetParam().from).front(); }
    static Stage after() { return stages(GetParam().to).front(); }
};

std::string step_name(const testing::TestParamInfo<Step>& parameter) {
    const auto number = [](int stage) { return (stage < 10 ? "0" : "") + std::to_string(stage); };
    return number(parameter.param.from) + "_to_" + number(parameter.param.to);
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
        if (old == old_ones.end() || (name == "control" && GetParam().to == 7)) continue;
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

/// What `./tour diff` shows with these arguments.
std::string shown_by_diff(const std::vector<std::string>& arguments) {
    std::vector<std::string> command{std::string{SOURCE_DIR} + "/tour", "diff"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const auto result = run_command(command);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
}

// Each changed file, and each that only one of the two has.
TEST_P(Steps, DiffShowsTheStep) {
    const auto shown = shown_by_diff({before().name, after().name});
    auto files = sources_of_server(before());
    for (const auto& file : sources_of_server(after())) files.push_back(file);
    for (const auto& file : files) {
        const bool in_both =
            !source_of(before(), file).empty() && !source_of(after(), file).empty();
        const bool changed = source_of(before(), file) != source_of(after(), file);
        EXPECT_EQ(shown.find("b/" + after().folder() + '/' + file) != std::string::npos,
                  in_both && changed)
            << file;
        EXPECT_EQ(shown.find("has " + file) != std::string::npos, !in_both) << file;
    }
}

TEST_P(Steps, DiffShowsTheStepOfTheBarePrograms) {
    const auto shown = shown_by_diff({before().name, after().name, "--bare"});
    EXPECT_TRUE(shown.starts_with("diff ")) << shown;
    EXPECT_NE(shown.find("+++ b/" + after().folder() + "/bare.cpp"), std::string::npos);
}

class StepsFromTheIdea : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, StepsFromTheIdea, testing::ValuesIn(all_stages()), stage_name);

// Each call of the bare program has its place in the server.
TEST_P(StepsFromTheIdea, DiffShowsWhereTheServerMakesEachCall) {
    const auto lines = lines_of(shown_by_diff({stage().name, "--bare-main"}));
    std::size_t calls = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (!lines[i].starts_with(stage().folder() + "/bare.cpp:")) continue;
        ++calls;
        ASSERT_LT(i + 1, lines.size());
        EXPECT_TRUE(lines[i + 1].starts_with("    " + stage().folder() + '/')) << lines[i];
    }
    EXPECT_GE(calls, 8U);
}

} // namespace
