// The stages, and what the suite expects of each: the table that parameterises the tests.
#pragma once

#include <cstddef>
#include <gtest/gtest.h>
#include <iosfwd>
#include <string>
#include <vector>

/// What a program under test can do, besides serving. A test asks here, and not which program it
/// has before it.
struct Profile {
    bool takes_options = true;    ///< those of the stages; without them, its one argument is a port
    bool announces = true;        ///< where it listens, on stderr; else the kernel's table tells
    bool has_deadlines = true;    ///< for a client that says nothing
    bool has_long_backlog = true; ///< else one client at a time has room in it
    bool ends_cleanly = true;     ///< with exit code 0 on SIGTERM; else the signal ends it
    bool keeps_requests = false;  ///< in a file in its working directory: so it gets one of its own
};

/// One program under test: the server of a stage, or its bare program. The texts are what a test of
/// the comparison must observe, in the words it puts into the table: what the program manages, and
/// as much what it must not manage. "" where a row does not apply to it.
struct Stage {
    int number;
    std::string
        name; ///< of its folder, and of the program: "06_epoll_level", "06_epoll_level_bare"
    Profile profile{};

    std::string head_too_long;           ///< of 8,193 bytes
    std::string silence;                 ///< the client says nothing
    std::string half_close;              ///< its request and a FIN come together
    std::string second_client_later;     ///< the first has been served
    std::string second_client_meanwhile; ///< the first has sent half a request
    std::string after_a_fin;             ///< in the middle of a request: what follows
    std::string after_a_reset;           ///< the same
    std::string after_a_stop;            ///< SIGSTOP, SIGCONT: as with Ctrl-Z and fg
    std::string beside_unread_response;  ///< another client reads nothing of its 20 MB
    std::string beside_fast_reader;      ///< another client reads 800 MB as fast as it can
    std::string clients_held_open;       ///< 1,100 of them
    std::string out_of_descriptors;      ///< 60 clients, and 32 descriptors in all
    std::string at_sigterm;              ///< with 10 clients that are typing
    std::size_t threads_with_50_clients;
    std::string beside_slow_disk{}; ///< 10 clients, a queue of 3, 2 s for each fdatasync(2)
    std::string after_a_left_job{}; ///< a client has left while its request was stored

    /// The folder of its sources, from the root of the tutorial: "beyond/08_workers".
    std::string folder() const;
};

void PrintTo(const Stage& stage, std::ostream* out);

/// The last of the seven stages of the path. Those that go on from it are in beyond/.
constexpr int last_of_path = 7;

/// The stages with these numbers, both included.
std::vector<Stage> stages(int first, int last = 99);

inline std::vector<Stage> all_stages() { return stages(1); }
inline std::vector<Stage> stages_of_path() { return stages(1, last_of_path); }
inline std::vector<Stage> stages_beyond() { return stages(last_of_path + 1); }
/// Those and their bare programs.
std::vector<Stage> programs_beyond();
/// The bare programs of these stages.
std::vector<Stage> bare_programs(int first = 1, int last = 99);
/// The stages from a number on, and the bare programs from another one on.
std::vector<Stage> stages_and_bare(int first, int first_bare);
/// All of both.
inline std::vector<Stage> all_programs() { return stages_and_bare(1, 1); }
/// Those that serve one client after the other, or many at once.
inline std::vector<Stage> serving_stages() { return stages(2); }
/// Those that serve many at once.
inline std::vector<Stage> concurrent_stages() { return stages(3); }
/// Those that do so in an event loop, driven by readiness.
inline std::vector<Stage> event_stages() { return stages(4); }
/// Those that use epoll, and take the options about segments.
inline std::vector<Stage> epoll_stages() { return stages(6); }

/// Those that keep each request in a database; and their bare programs.
inline std::vector<Stage> storing_stages() { return stages(8, 8); }
std::vector<Stage> storing_stages_and_bare();

/// The program of a stage, in the folder of those under test.
std::string program_of(const Stage& stage);

/// Names a test's parameter by its stage: Wire.Response/06_epoll_level.
std::string stage_name(const testing::TestParamInfo<Stage>& parameter);

/// The fixture of every test that runs once for each of some stages.
class StageTest : public testing::TestWithParam<Stage> {
protected:
    static const Stage& stage() { return GetParam(); }
    /// Stage 01 serves one client and ends: what would follow has no meaning there.
    static bool serves_once() { return stage().number == 1; }
    /// These options where the program takes any, none where it does not.
    static std::vector<std::string> options_if_taken(std::vector<std::string> options) {
        if (!stage().profile.takes_options) options.clear();
        return options;
    }
};
