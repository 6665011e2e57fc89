// What follows from a recording: who was where at a moment. A classic script, so that it works from
// file://, too. The tests of the generator run it as well.
/* exported stateOf, momentsOf */

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
 * threads: what each thread of the server does: the call that it is in, for whom, and whether it waits.
 * watched: what the program waits for, or has on its list in the kernel; null in a program that does
 * not wait for any. ready: what of that has something to report.
 */
function stateOf(recording, time) {
    const calls = recording.threads.flatMap((thread) => thread.calls);
    const begun = calls.filter(({ start }) => start <= time);
    const done = calls.filter(({ end }) => end !== null && end <= time);
    const accepted = new Set(done.filter(({ call }) => call === 'accept4').map(({ result }) => result));
    const closed = new Set(done.filter(({ call }) => call === 'close').map((call) => call.for));
    const ended = begun.some(({ call }) => call === 'exit_group');

    const clients = {};
    const queue = [];
    const unread = new Map();
    for (const { name, events } of recording.clients) {
        const past = events.filter((event) => event.time <= time);
        const has = (what) => past.some((event) => event.what === what);
        const sent = past.filter(({ what }) => what === 'send').reduce((sum, { bytes }) => sum + bytes, 0);
        const all = events.filter(({ what }) => what === 'send').reduce((sum, { bytes }) => sum + bytes, 0);
        const taken = done
            .filter((call) => call.call === 'recv' && call.for === name && typeof call.result === 'number')
            .reduce((sum, { result }) => sum + result, 0);
        unread.set(name, sent - taken);
        const waits = has('connected') && !accepted.has(name) && !has('reset') && !has('end of file');
        if (waits) queue.push(name);
        clients[name] = phaseOf({ has, waits, whole: sent === all, began: past.length > 0 });
    }

    const threads = recording.threads.map(({ name, calls: own }) => {
        const now = own.filter(({ start, end }) => start <= time && (end === null || end > time)).at(-1);
        if (now) return { name, call: now.call, for: now.for, waits: true };
        const before = own.filter(({ start }) => start <= time).at(-1);
        const after = own.find(({ start }) => start > time);
        if (!before && name !== 'main') return { name, call: '', for: '', waits: false, ended: false, absent: true };
        const over = !after && (name !== 'main' || ended);
        return { name, call: before?.call ?? '', for: before?.for ?? '', waits: false, ended: over };
    });

    const waitsForAny = calls.some(({ call }) => ['pselect', 'ppoll', 'epoll_pwait'].includes(call));
    const watched = waitsForAny ? ['listener', ...[...accepted].filter((name) => clients[name] && !closed.has(name))] : null;
    const ready = watched?.filter((name) => (name === 'listener' ? queue.length > 0 : unread.get(name) > 0)) ?? null;
    return { clients, queue, threads, watched, ready };
}

function phaseOf({ has, waits, whole, began }) {
    if (!began) return 'not there yet';
    if (has('refused')) return 'refused';
    if (has('reset')) return 'reset: it got nothing';
    if (has('end of file')) return 'has its answer, and left';
    if (has('first byte')) return 'reads its answer';
    if (waits) return 'connected, in the queue';
    if (!has('connected')) return 'connects';
    return whole ? 'waits for its answer' : 'pauses in the middle of its request';
}
