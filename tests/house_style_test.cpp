// What the stages owe their readers: common.h the same everywhere, budgets of lines and of changed
// lines, short functions, and neighbours that differ where the step's idea is and nowhere else.

#include "child_process.h"
#include "source_text.h"
#include "stages.h"
#include "support.h"

#include <algorithm>
#include <filesystem>
#include <gtest/gtest.h>
#include <ostream>
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

TEST_P(HouseStyle, CommonHeaderIsTheSameEverywhere) {
    const auto common = source_of(stage(), "common.h");
    EXPECT_FALSE(common.empty());
    EXPECT_LE(lines_of(common).size(), 240U);
    EXPECT_TRUE(common == source_of(stages(1, 1).front(), "common.h"));
}

TEST_P(HouseStyle, LinesOfMain) {
    constexpr std::size_t budgets[] = {150, 150, 200, 320, 320, 320, 370};
    const auto lines = lines_of(source_of(stage())).size();
    EXPECT_GT(lines, 0U);
    EXPECT_LE(lines, budgets[stage().number - 1]);
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
    for (const char* file : {"main.cpp", "common.h"}) {
        const auto functions = functions_in(source_of(stage(), file));
        EXPECT_GE(functions.size(), 5U) << file;
        for (const auto& function : functions) {
            EXPECT_LE(function.lines, allowed_lines(function)) << file << ": " << function.name;
        }
    }
}

/// A step from one stage to the next.
struct Step {
    int from;
    std::size_t changed_lines; ///< at most so many lines that diff(1) marks with < or >
    /// What the step is about: the definitions that both stages have and that differ.
    std::set<std::string> changed;
};

void PrintTo(const Step& step, std::ostream* out) { *out << "step from stage " << step.from; }

std::vector<Step> steps() {
    return {
        // How a request is printed, and the loop.
        {1, 40, {"main", "serve", "Connection::receive_head"}},
        // Printing takes turns, accept() is woken by a signal, and each client gets its thread.
        {2, 70, {"main", "serve", "accept_client", "Connection", "Connection::receive_head"}},
        // Sockets that do not block, signals that come during a wait only, no turns at printing.
        {3,
         220,
         {"main", "serve", "stop", "listen_on", "accept_client", "Connection",
          "Connection::receive_head"}},
        // The wait. And FD_SETSIZE is gone, from Server too.
        {4,
         80,
         {"main", "Interest", "Interest::watch", "Interest::wait", "Server", "Server::Server",
          "Server::add"}},
        // The wait; close() forgets by itself. And the two options, on the listener and in send().
        {5,
         90,
         {"main", "Interest", "Interest::make_room", "Interest::watch", "Interest::wait",
          "Server::remove", "listen_on", "Connection::send_response"}},
        // Edges: who met EAGAIN, who has to have another turn. And the option, on the listener.
        {6,
         110,
         {"main", "Interest", "Interest::watch", "Interest::wait", "Connection",
          "Connection::again_or_throw", "Server::accept_clients", "Server::set_accepting",
          "Server::advance", "Server::run", "listen_on"}},
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

TEST_P(Steps, ChangedLines) {
    const auto diff =
        run_command({"diff", file_of(before(), "main.cpp"), file_of(after(), "main.cpp")});
    ASSERT_EQ(diff.exit_code, 1) << diff.err; // 1: they differ
    const auto lines = lines_of(diff.out);
    const auto changed = std::count_if(lines.begin(), lines.end(), [](const std::string& line) {
        return line.starts_with('<') || line.starts_with('>');
    });
    EXPECT_LE(static_cast<std::size_t>(changed), GetParam().changed_lines);
}

TEST_P(Steps, OnlyWhatTheStepIsAboutChanges) {
    const auto old_ones = definitions_in(source_of(before()));
    const auto new_ones = definitions_in(source_of(after()));
    std::set<std::string> changed;
    std::size_t shared = 0;
    for (const auto& [name, text] : new_ones) {
        const auto old = old_ones.find(name);
        if (old == old_ones.end()) continue;
        ++shared;
        if (old->second != text) changed.insert(name);
    }
    EXPECT_GE(shared, 5U);
    EXPECT_EQ(changed, GetParam().changed);
}

} // namespace
