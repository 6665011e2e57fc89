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
    const accepted = new Set(done.filter(isAccept).map(({ result }) => result));
    const clients = {};
    const queue = [];
    for (const { name, events } of recording.clients) {
        const past = events.filter((event) => event.time <= time);
        clients[name] = phaseOf(past, events, accepted.has(name));
        if (isUp(past) && past.length > 1 && !accepted.has(name)) queue.push(name);
    }
    return { clients, queue, threads: threadsOf(recording, time), ...waitsOf(recording, time, done) };
}

const isAccept = ({ call }) => call === 'accept' || call === 'accept4';
/** Whether a client has connected, or is about to, and neither was turned away nor reset. */
const isUp = (past) => past.length > 0 && !past.some(({ what }) => what === 'refused' || what === 'reset');
const bytesOf = (events) => events.filter(({ what }) => what === 'send').reduce((sum, { bytes }) => sum + bytes, 0);

function phaseOf(past, events, isAccepted) {
    const has = (what) => past.some((event) => event.what === what);
    if (past.length === 0) return 'not there yet';
    if (has('refused')) return 'refused';
    if (has('reset')) return 'reset: it got nothing';
    if (has('left')) return 'has left in the middle of its request';
    if (has('end of file')) return 'has its answer, and left';
    if (has('first byte')) return 'reads its answer';
    if (!has('connected')) return 'connects';
    if (!isAccepted) return 'connected, in the queue';
    const isWhole = bytesOf(past) === bytesOf(events) && !events.some(({ what }) => what === 'left');
    return isWhole ? 'waits for its answer' : 'pauses in the middle of its request';
}

/** What the threads do. One that has not been started yet is left out. `spin`: see spinOf. */
function threadsOf(recording, time) {
    const ended = recording.threads[0].calls.some(({ call, start }) => call === 'exit_group' && start <= time);
    return recording.threads.flatMap(({ name, calls }) => {
        const begun = calls.filter(({ start }) => start <= time);
        const isMain = name === 'main';
        if (begun.length === 0 && !isMain) return [];
        const last = begun.at(-1) ?? { call: '', for: '', end: 0 };
        const inCall = last.call !== '' && (last.end === null || last.end > time);
        const isOver = ended || (!isMain && begun.length === calls.length && !inCall);
        const spin = inCall && last.times ? spinOf(last, time, recording['recorded until']) : null;
        return [{ name, call: last.call, for: last.for, inCall, isOver, spin }];
    });
}

/** A turn of calls that is made again and again: which calls, how many times in all, and about how many times by now. */
function spinOf({ call, then, times, start, end }, time, until) {
    const turn = [call, ...then.map((other) => other.call)];
    return { turn, times, soFar: Math.round((times * (time - start)) / ((end ?? until) - start)) };
}

/** What the program waits for, where it waits for any of several clients. */
function waitsOf(recording, time, done) {
    const waits = recording.threads[0].calls.map(({ call }) => call).filter((call) => /select$|poll$|^epoll_p?wait$/.test(call));
    if (waits.length === 0) return { watched: null, ready: null };
    const isEpoll = waits[0].startsWith('epoll');
    const closed = new Set(done.filter(({ call }) => call === 'close').map((call) => call.for));
    const names = done
        .filter((call) => (isEpoll ? call.result === 'EPOLL_CTL_ADD' : isAccept(call)))
        .map((call) => (isEpoll ? call.for : call.result))
        .filter((name) => recording.clients.some((client) => client.name === name) && !closed.has(name));
    const watched = ['listener', ...names];
    const isEdge = recording.program.startsWith('07');
    const isReady = (name) => {
        const { input, output } = newsOf(recording, time, done, name);
        if (!isEdge) return input.length > 0 || output.length > 0;
        const reported = done.filter(({ result }) => Array.isArray(result) && result.includes(name)).at(-1);
        return [...input, ...output].some((moment) => !reported || moment > reported.end);
    };
    return { watched, ready: watched.filter(isReady) };
}

/**
 * What there is to report of a socket: when came the input that has not been taken yet, and since when
 * does the program wait for room for output, of which there is plenty. Both in ms.
 */
function newsOf(recording, time, done, name) {
    const past = ({ events }) => events.filter((event) => event.time <= time);
    if (name === 'listener') {
        // The kernel completes a connection while the client is in connect().
        const accepted = done.filter(isAccept).map(({ result }) => result);
        const waiting = recording.clients.filter((client) => !accepted.includes(client.name) && isUp(past(client)));
        return { input: waiting.map(({ events }) => events[0].time), output: [] };
    }
    const client = recording.clients.find((each) => each.name === name);
    const of = (call) => done.filter((each) => each.call === call && each.for === name);
    const received = of('recv').reduce((sum, { result }) => sum + (typeof result === 'number' ? result : 0), 0);
    const isBare = recording.program.endsWith('_bare');
    const leaves = client.events.some(({ what }) => what === 'left');
    const isComplete = !leaves && received === bytesOf(client.events);
    // The bare programs wait for room before they send. When they have ended both directions themselves, epoll says that.
    const waitsForRoom = isBare && isComplete && of('send').length === 0;
    if (waitsForRoom) return { input: [], output: [(of('epoll_ctl').at(-1) ?? of('recv').at(-1)).end] };
    if (isBare && of('shutdown').length) return { input: [], output: [of('shutdown').at(-1).end] };
    let sent = 0;
    const input = past(client).filter((event) => {
        if (event.what === 'send') return (sent += event.bytes) > received;
        return event.what === 'left' || event.what === 'end of file';
    });
    return { input: input.map((event) => event.time), output: [] };
}
