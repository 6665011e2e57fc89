// What a reader wants to know of a system call at once: what it does, in which manual page it is, where
// the lessons or the reference explain it, and a test in which it matters.

const lesson = (number, name, part = 'read-it') => `docs/${number}_${name}.md#${part}`;
const first = lesson('01', 'blocking_single');
const rest = 'docs/reference';

/** By name. A page is a file of the repository, with the anchor of a section. */
export const calls = {
    accept: { what: 'takes the next connection off the listener’s queue', man: 'accept(2)', page: first, test: 'TcpFacts.ConnectSucceedsWithoutAccept' },
    accept4: { what: 'accept() with flags for the new socket', man: 'accept(2)', page: lesson('04', 'select'), test: 'ConcurrencyOfEvents.NoSocketBlocks' },
    bind: { what: 'gives a socket an address and a port', man: 'bind(2)', page: `${rest}/addresses.md#what-bind-wants`, test: 'Lifecycle.PortInUse' },
    close: { what: 'gives a descriptor back; the last one ends the connection', man: 'close(2)', page: `${rest}/closing.md`, test: 'TcpFacts.CloseWithUnreadInputResets' },
    epoll_create1: { what: 'makes a list in the kernel, an epoll instance', man: 'epoll_create(2)', page: lesson('06', 'epoll_level'), test: 'Calls.OfAPlainRequest' },
    epoll_ctl: { what: 'changes the list: adds, modifies or deletes a descriptor', man: 'epoll_ctl(2)', page: `${rest}/epoll_corners.md#what-epoll_ctl-refuses`, test: 'FaultsOfRegistration.FailureEndsOneClientOnly' },
    epoll_pwait: { what: 'waits for the list, and lets signals in during the wait', man: 'epoll_wait(2)', page: lesson('06', 'epoll_level', 'what-it-takes'), test: 'Lifecycle.SignalBetweenCheckAndWait' },
    epoll_wait: { what: 'waits until descriptors on the list are ready, and returns these', man: 'epoll_wait(2)', page: lesson('06', 'epoll_level'), test: 'EpollFacts.LevelReportsAgainAndAgain' },
    eventfd: { what: 'makes a counter in the kernel; adding to it wakes who waits for it', man: 'eventfd(2)', page: lesson('08', 'workers'), test: 'WorkersAndTheDisk.AnswerComesAfterTheDisk' },
    fork: { what: 'makes a copy of the process', man: 'fork(2)', page: `${rest}/epoll_corners.md#dup-and-fork`, test: 'EpollFacts.CopyKeepsAClosedDescriptorOnTheList' },
    getsockname: { what: 'says which address and port a socket has', man: 'getsockname(2)', page: `${rest}/addresses.md#when-bind-refuses`, test: 'Lifecycle.PortInUse' },
    htons: { what: 'puts the two bytes of a port into the network’s order', man: 'byteorder(3)', page: `${rest}/addresses.md#byte-order`, test: 'Lifecycle.PortInUse' },
    inet_pton: { what: 'turns text such as 127.0.0.1 into an address', man: 'inet_pton(3)', page: `${rest}/addresses.md#what-bind-wants`, test: 'Lifecycle.AddressOfAnotherMachine' },
    ioctl: { what: 'asks how many sent bytes have not been acknowledged (SIOCOUTQ)', man: 'tcp(7)', page: `${rest}/dead_peer.md#deadlines`, test: 'SlowReader.IsNotCutOff' },
    listen: { what: 'lets the kernel complete connections, and queue them', man: 'listen(2)', page: `${rest}/socket_options.md#the-listen-backlog`, test: 'Limits.BacklogOfOneCompletesTwoConnections' },
    poll: { what: 'waits until one of the descriptors in an array is ready', man: 'poll(2)', page: lesson('05', 'poll'), test: 'PollFacts.HangUpIsReportedUnasked' },
    ppoll: { what: 'poll() with a signal mask and a finer time limit', man: 'poll(2)', page: lesson('05', 'poll', 'what-it-takes'), test: 'Lifecycle.SignalBetweenCheckAndWait' },
    pselect: { what: 'select() with a signal mask and a finer time limit', man: 'select(2)', page: lesson('04', 'select', 'what-it-takes'), test: 'Lifecycle.SignalBetweenCheckAndWait' },
    recv: { what: 'returns bytes that have arrived, 0 at the end of file', man: 'recv(2)', page: first, test: 'Wire.OneByteAtATime' },
    select: { what: 'waits until one of the descriptors in its sets is ready', man: 'select(2)', page: lesson('04', 'select'), test: 'SelectFacts.SetsAreOverwritten' },
    send: { what: 'copies bytes into the kernel, perhaps not all of them', man: 'send(2)', page: first, test: 'Wire.EverySendIsShort' },
    setsockopt: { what: 'sets an option of a socket', man: 'setsockopt(2), socket(7), tcp(7)', page: `${rest}/socket_options.md`, test: 'TcpFacts.PortIsTakenWithoutReuseAddress' },
    shutdown: { what: 'ends one direction of a connection, or both, and keeps the descriptor', man: 'shutdown(2)', page: `${rest}/closing.md#half-close`, test: 'Wire.HalfCloseAfterTheRequest' },
    sigpending: { what: 'says which blocked signals have come', man: 'sigpending(2)', page: `${rest}/stopping.md#the-lost-signal`, test: 'FaultsAndFairness.SignalComesThroughEndlessWork' },
    sigprocmask: { what: 'says which signals are blocked from now on', man: 'sigprocmask(2)', page: `${rest}/stopping.md#the-lost-signal`, test: 'Lifecycle.InheritedSignalSettingsDoNotMatter' },
    signal: { what: 'says what to do when a signal comes', man: 'signal(2)', page: `${rest}/stopping.md`, test: 'Lifecycle.SignalBetweenCheckAndWait' },
    socket: { what: 'makes a new socket', man: 'socket(2)', page: first, test: 'Calls.OfAPlainRequest' },
};
