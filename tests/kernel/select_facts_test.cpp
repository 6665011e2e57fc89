// What the chapters say about select(), shown by the call itself: sockets.h says how.

#include "sockets.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <sys/select.h>

namespace {

// select(2): the sets are modified in place. A server that does not fill them anew for each call
// waits for fewer and fewer clients.
TEST(SelectFacts, SetsAreOverwritten) {
    const Ends quick, slow;
    const int limit = std::max(quick.server.number(), slow.server.number()) + 1;
    fd_set reading;
    FD_ZERO(&reading);
    FD_SET(quick.server.number(), &reading);
    FD_SET(slow.server.number(), &reading);
    deliver(quick.client, "hello");
    timeval at_once{};
    EXPECT_EQ(select(limit, &reading, nullptr, nullptr, &at_once), 1);
    EXPECT_TRUE(FD_ISSET(quick.server.number(), &reading));
    EXPECT_FALSE(FD_ISSET(slow.server.number(), &reading));
    EXPECT_EQ(receive(quick.server).bytes, "hello");
    deliver(slow.client, "hello"); // and the set no longer asks for it
    EXPECT_EQ(select(limit, &reading, nullptr, nullptr, &at_once), 0);
}

} // namespace
