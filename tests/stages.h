// The seven stages, and what the suite expects of each: the table that parameterises the tests.
#pragma once

#include <cstddef>
#include <gtest/gtest.h>
#include <iosfwd>
#include <string>
#include <vector>

/// One stage. The texts are what a test of the comparison must observe, in the words it puts into
/// the table: what the stage manages, and as much what it must not manage.
struct Stage {
    int number;
    std::string name;

    std::string second_client_later;     ///< the first has been served
    std::string second_client_meanwhile; ///< the first has sent half a request
    std::string after_a_client_left;     ///< what follows a FIN or RST in the middle of a request
    std::string beside_unread_response;  ///< another client reads nothing of its 20 MB
    std::string beside_fast_reader;      ///< another client reads 800 MB as fast as it can
    std::string clients_held_open;       ///< 1,100 of them
    std::size_t threads_with_50_clients;
};

void PrintTo(const Stage& stage, std::ostream* out);

/// The stages with these numbers, both included.
std::vector<Stage> stages(int first, int last = 7);

inline std::vector<Stage> all_stages() { return stages(1); }
/// Those that serve one client after the other, or many at once.
inline std::vector<Stage> serving_stages() { return stages(2); }
/// Those that serve many at once.
inline std::vector<Stage> concurrent_stages() { return stages(3); }
/// Those that do so in one thread, driven by readiness.
inline std::vector<Stage> event_stages() { return stages(4); }
/// Those that use epoll, and take the options about segments.
inline std::vector<Stage> epoll_stages() { return stages(6); }

/// The program of a stage: of those that were built, or of another build, to be compared with them,
/// in the folder that the environment names as STAGE_BINARIES.
std::string program_of(const Stage& stage);

/// What the stages under test were built with: their programs name its runtime.
enum class Sanitizer { none, address, thread };
Sanitizer sanitizer();

/// Names a test's parameter by its stage: Wire.Response/06_epoll_level.
std::string stage_name(const testing::TestParamInfo<Stage>& parameter);

/// The fixture of every test that runs once for each of some stages.
class StageTest : public testing::TestWithParam<Stage> {
protected:
    static const Stage& stage() { return GetParam(); }
    /// Stage 01 serves one client and ends: what would follow has no meaning there.
    static bool serves_once() { return stage().number == 1; }
};
