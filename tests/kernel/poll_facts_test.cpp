// What the chapters say about poll(), shown by the call itself: sockets.h says how.

#include "harness/time_limits.h"
#include "sockets.h"

#include <gtest/gtest.h>

namespace {

// poll() in POSIX: regular files always poll ready. The read may still wait for the disk.
TEST(PollFacts, RegularFileIsAlwaysReady) {
    const Descriptor file = open_regular_file(); // and an empty one
    EXPECT_EQ(polled(file, POLLIN | POLLOUT), POLLIN | POLLOUT);
}

// poll(2): events can be 0, and POLLHUP and POLLERR come all the same. A server must act on them
// or leave the entry out (a negative descriptor), or the wait returns at once, for ever.
TEST(PollFacts, HangUpIsReportedUnasked) {
    Ends ends;
    EXPECT_EQ(polled(ends.server, 0), 0);
    reset(ends.client);
    EXPECT_TRUE(eventually([&] { return polled(ends.server, 0) == (POLLHUP | POLLERR); }));
}

} // namespace
