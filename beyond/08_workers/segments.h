// You may skip this file. It holds options that decide how a response is
// divided into segments, the packets of TCP. Two of them are in Examples 5 and
// 6 of the article. By default nothing here has any effect.
#pragma once

#include "common.h"
#include "console.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstddef>
#include <limits>

// The command line sets these before the server starts.

// One send() gets at most this much. Small chunks can make small segments, so
// that you can see what the two options below do.
inline std::size_t chunk_bytes = std::numeric_limits<std::size_t>::max();
// If this is set, the kernel holds back segments that are not full, until
// shutdown() ends the response.
inline bool tcp_cork = false;
// If this is set, the kernel sends each chunk without delay, even if the client
// has not acknowledged the one before.
inline bool tcp_nodelay = false;

inline void add_segment_options(CLI::App& app) {
    app.add_flag("--tcp-cork", tcp_cork, "Send a response in full segments");
    app.add_flag("--tcp-nodelay", tcp_nodelay,
                 "Send each chunk at once, without waiting for "
                 "acknowledgements");
    add_number(app, "--chunk-bytes", chunk_bytes,
               "At most this many bytes a send()", 1,
               std::numeric_limits<long>::max());
}

// All connections inherit this from the listener.
inline void set_segment_options(int listener) {
    if (tcp_nodelay) {
        set_option(listener, IPPROTO_TCP, TCP_NODELAY, 1);
    }
}

// Call this before the first byte of a response. After the last byte, the
// article turns the option off again, so that the kernel sends what it still
// holds back. Here shutdown() has that effect.
inline void hold_back_segments(int socket) {
    if (tcp_cork) {
        set_option(socket, IPPROTO_TCP, TCP_CORK, 1);
    }
}
