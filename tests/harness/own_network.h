// A test in a network of its own: its own loopback device, ports and connections, and its own
// settings under /proc/sys/net (network_namespaces(7)). Nothing that else goes on on the machine
// takes part.
#pragma once

/// For the first line of a test: `if (!enter_own_network()) return;`
///
/// Runs the test that calls this once more, in a process that has such a network, and is true in
/// there. In the process that ctest started it is false, once the other has ended: what failed in
/// there has failed here. A container may forbid such networks; then it is true here, and the test
/// shares the machine's network, as every other test does.
bool enter_own_network();

/// Whether this process has a network of its own: only then may a test change settings.
bool has_own_network();
