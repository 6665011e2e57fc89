// What follows from a recording: who was where at a moment. A classic script, so that it works from
// file://, too. The tests of the generator run it as well.

/** The moments at which something was recorded, in ms, in order. */
function momentsOf(recording) {
    const times = [
        ...recording.clients.flatMap(({ events }) => events.map(({ time }) => time)),
        ...recording.threads.flatMap(({ calls }) => calls.flatMap(({ start, end }) => [start, end ?? start])),
    ];
    const last = recording['recorded until'];
    return [...new Set([0, ...times.filter((time) => time >= 0 && time <= last)])].sort((a, b) => a - b);
}

/**
 * The state at a moment, `time` in ms. What happens at that very moment has happened.
 * clients: the phase of each, in words. queue: the names of those that wait to be accepted.
 * threads: what each thread of the server does: the call that it is in, or the one that it made last.
 * watched: what the program waits for, or has on its list in the kernel. ready: what of that has
 * something to report. Both are null in a program that does not wait for any of several clients.
 */
function stateOf(recording, time) {
    const calls = recording.threads.flatMap((thread) => thread.calls);
    const done = calls.filter(({ end }) => end !== null && end <= time);
    const accepted = new Set(done.filter(({ call }) => call === 'accept4').map(({ result }) => result));
    const clients = {};
    const queue = [];
    for (const { name, events } of recording.clients) {
        clients[name] = phaseOf(events, time, accepted.has(name));
        if (clients[name] === inQueue) queue.push(name);
    }
    return { clients, queue, threads: threadsOf(recording, time), ...waitsOf(recording, time, done, queue) };
}

const inQueue = 'connected, in the queue';
const bytesOf = (events) => events.filter(({ what }) => what === 'send').reduce((sum, { bytes }) => sum + bytes, 0);

function phaseOf(events, time, isAccepted) {
    const past = events.filter((event) => event.time <= time);
    const has = (what) => past.some((event) => event.what === what);
    if (past.length === 0) return 'not there yet';
    if (has('refused')) return 'refused';
    if (has('reset')) return 'reset: it got nothing';
    if (has('end of file')) return 'has its answer, and left';
    if (has('first byte')) return 'reads its answer';
    if (!has('connected')) return 'connects';
    if (!isAccepted) return inQueue;
    return bytesOf(past) === bytesOf(events) ? 'waits for its answer' : 'pauses in the middle of its request';
}

/** What the threads do. One that has not been started yet is left out. */
function threadsOf(recording, time) {
    const ended = recording.threads[0].calls.some(({ call, start }) => call === 'exit_group' && start <= time);
    return recording.threads.flatMap(({ name, calls }) => {
        const begun = calls.filter(({ start }) => start <= time);
        const isMain = name === 'main';
        if (begun.length === 0 && !isMain) return [];
        const last = begun.at(-1) ?? { call: '', for: '', end: 0 };
        const inCall = last.call !== '' && (last.end === null || last.end > time);
        const isOver = ended || (!isMain && begun.length === calls.length && !inCall);
        return [{ name, call: last.call, for: last.for, inCall, isOver }];
    });
}

/** What the program waits for, where it waits for any of several clients. */
function waitsOf(recording, time, done, queue) {
    const waits = ['pselect', 'ppoll', 'epoll_pwait'];
    const calls = recording.threads[0].calls;
    if (!calls.some(({ call }) => waits.includes(call))) return { watched: null, ready: null };
    const isEpoll = calls.some(({ call }) => call === 'epoll_pwait');
    const closed = new Set(done.filter(({ call }) => call === 'close').map((call) => call.for));
    const names = done
        .filter(({ call, result }) => (isEpoll ? result === 'EPOLL_CTL_ADD' : call === 'accept4'))
        .map((call) => (isEpoll ? call.for : call.result))
        .filter((name) => recording.clients.some((client) => client.name === name) && !closed.has(name));
    const watched = ['listener', ...names];
    const isEdge = recording.stage.startsWith('07');
    const ready = watched.filter((name) =>
        isEdge ? hasNews(recording, time, done, name) : hasInput(recording, time, done, name, queue),
    );
    return { watched, ready };
}

/** Level: whether the next call on it would not have to wait. */
function hasInput(recording, time, done, name, queue) {
    if (name === 'listener') return queue.length > 0;
    const { events } = recording.clients.find((client) => client.name === name);
    const received = done
        .filter((call) => call.call === 'recv' && call.for === name && typeof call.result === 'number')
        .reduce((sum, { result }) => sum + result, 0);
    return bytesOf(events.filter((event) => event.time <= time)) > received;
}

/** Edge: whether something has come since it was last reported. */
function hasNews(recording, time, done, name) {
    const events = recording.clients
        .filter((client) => name === 'listener' || client.name === name)
        .flatMap((client) => client.events)
        .filter((event) => event.time <= time && event.what === (name === 'listener' ? 'connected' : 'send'));
    const reported = done.filter(({ call, result }) => call === 'epoll_pwait' && result?.includes(name)).at(-1);
    return events.some((event) => !reported || event.time > reported.end);
}
