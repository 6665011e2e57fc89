// What the generator makes of pages, right ones and wrong ones.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { before, test } from 'node:test';
import vm from 'node:vm';
import zlib from 'node:zlib';

import { build } from '../build.js';
import { changesSince, callsOfBare } from '../lib/changes.js';
import { definitionOf, linesOf, placeOf, rangesOf } from '../lib/code.js';
import { anchorOf, Page } from '../lib/markdown.js';
import { allStages, beyond, filesBelow, filesOf, folderOf, output, stageBefore, stages } from '../lib/tree.js';
import { serve } from '../serve.js';

const problemsOf = (text) => new Page('docs/06_epoll_level.md', text).problems;

before(() => assert.deepEqual(build(), []));

test('a link to a file that is not there is a problem', () => {
    assert.match(problemsOf('[x](nowhere.md)')[0], /there is no docs\/nowhere\.md/);
    assert.match(problemsOf('[x](../../elsewhere)')[0], /outside of the repository/);
    assert.deepEqual(problemsOf('[x](README.md), [y](https://example.org/)'), []);
});

test('a picture that is not there is a problem', () => {
    assert.match(problemsOf('![x](figures/nothing.svg)')[0], /there is no docs\/figures\/nothing\.svg/);
});

test('a function that is not there is a problem', () => {
    assert.match(problemsOf('`06_epoll_level/poller.h:Poller::fly`')[0], /is not there/);
    assert.match(problemsOf('`Poller::fly()`')[0], /is not there/);
    assert.match(problemsOf('`common.h:Fd::look_at`')[0], /is not there/); // it is in a later class
    assert.deepEqual(problemsOf('`06_epoll_level/poller.h:Poller::wait`, `Poller::wait()`'), []);
});

test('a test that is not there is a problem', () => {
    assert.match(problemsOf('`Wire.Flies`')[0], /there is no test Wire\.Flies/);
    assert.match(problemsOf('[`Wire.Flies`](README.md)')[0], /there is no test Wire\.Flies/);
    assert.deepEqual(problemsOf('`Wire.OneByteAtATime`'), []);
});

test('a block whose lines are not in the file is a problem', () => {
    const block = (line) => `\`\`\`cpp 06_epoll_level/bare.cpp\n${line}\n\`\`\`\n`;
    assert.match(problemsOf(block('int no_such_line;'))[0], /these lines are not in/);
    assert.deepEqual(problemsOf(block('#include <sys/epoll.h>')), []);
});

test('a difference whose lines are not in the newer file is a problem', () => {
    const block = (gone, come) => `\`\`\`diff 05_poll/bare.cpp 06_epoll_level/bare.cpp\n-${gone}\n+${come}\n\`\`\`\n`;
    const [old, young] = ['#include <poll.h>', '#include <sys/epoll.h>'];
    assert.match(problemsOf(block(old, 'int no_such_line;'))[0], /not in 06_epoll_level\/bare\.cpp/);
    assert.match(problemsOf(block('int no_such_line;', young))[0], /not in 05_poll\/bare\.cpp/);
    assert.deepEqual(problemsOf(block(old, young)), []);
    assert.match(problemsOf('```diff\n-x\n```\n')[0], /of which files/);
});

test('anchors are those of GitHub', () => {
    assert.equal(anchorOf('`bind()`: Address, already in use'), 'bind-address-already-in-use');
    assert.equal(anchorOf('ein … zwei_drei-4'), 'ein--zwei_drei-4');
});

test('lines are found where they stand together', () => {
    assert.equal(placeOf(['b', 'c'], ['a', 'b', 'x', 'b', 'c']), 4);
    assert.equal(placeOf(['b', 'd'], ['a', 'b', 'c', 'd']), 0);
});

test('definitions are told from calls', () => {
    const file = '06_epoll_level/server.h';
    const line = definitionOf(file, 'Server::serve_client');
    assert.match(fs.readFileSync(path.join(output, '../..', file), 'utf8').split('\n')[line - 1], /void serve_client\(Place place\) \{/);
    assert.equal(definitionOf(file, 'Server::no_such'), 0);
});

test('what is shown as changed stands in the new file, where it says', () => {
    for (const { file, hunks } of allStages.flatMap(changesSince)) {
        for (const { first, lines } of hunks) {
            const kept = lines.filter((line) => !/^[-\\]/.test(line)).map((line) => line.slice(1));
            assert.deepEqual(linesOf(file).slice(first - 1, first - 1 + kept.length), kept, file);
        }
    }
    const changed = changesSince('07_epoll_edge').filter(({ hunks }) => hunks.length);
    assert.ok(changed.some(({ file }) => file.endsWith('/poller.h')));
    assert.ok(!changed.some(({ file }) => file.endsWith('/connection.h')));
    assert.deepEqual(changesSince(stages[0]), []);
});

test('a stage goes on from the one that its README.md names', () => {
    assert.deepEqual(stages.map(stageBefore), [undefined, ...stages.slice(0, -1)]);
    for (const stage of beyond) assert.ok(allStages.includes(stageBefore(stage)), stage);
    assert.equal(stageBefore('08_workers'), '07_epoll_edge');
});

test('what changed in 08 is seen against 07', () => {
    const changes = changesSince('08_workers').map(({ file, old, hunks }) => [path.basename(file), old, hunks.length > 0]);
    for (const name of ['workers.h', 'store.h']) assert.deepEqual(changes.find(([each]) => each === name), [name, '', false]);
    for (const [name, isOther] of [['server.h', true], ['common.h', false]]) {
        assert.deepEqual(changes.find(([each]) => each === name), [name, `07_epoll_edge/${name}`, isOther]);
    }
});

test('no file of a stage is left out, and those that only this stage has come after main.cpp', () => {
    for (const stage of allStages) {
        const there = ['.cpp', '.h'].flatMap((end) => filesBelow(folderOf(stage), end));
        assert.deepEqual(filesOf(stage).sort(), there.sort(), stage);
    }
    const names = filesOf('08_workers').map((file) => file.replace('beyond/08_workers/', ''));
    assert.deepEqual(names.slice(0, 4), ['bare.cpp', 'main.cpp', 'workers.h', 'store.h']);
    assert.deepEqual(names.slice(-2), ['common.h', 'console.h']);
});

test('each call of a bare program is beside those of the server', () => {
    for (const stage of allStages) {
        for (const { name, places } of callsOfBare(stage)) assert.ok(places.length > 0, `${stage}: ${name}`);
    }
    const wait = callsOfBare('06_epoll_level').find(({ name }) => name === 'epoll_wait');
    assert.deepEqual(wait.places.map(({ file }) => file), ['06_epoll_level/poller.h']);
});

test('a function ends where its body does', () => {
    const range = (file, name) => rangesOf(file).filter(([each]) => each === name).map(([, first, last]) => {
        const lines = linesOf(file);
        return [lines[first - 1].trim(), lines[last - 1]];
    });
    assert.deepEqual(range('06_epoll_level/poller.h', 'again'), [['void again(int /*fd*/) {}', '    void again(int /*fd*/) {}']]);
    assert.deepEqual(range('06_epoll_level/poller.h', 'wait'), [['void wait(Clock::time_point until) {', '    }']]);
    assert.equal(range('03_threaded/main.cpp', '~Threads').length, 1);
});

test('a name in the text leads to the bare program first, and to the server from "What it takes" on', () => {
    const page = new Page('docs/03_threaded.md', '`serve()`\n\n## What it takes\n\n`serve()`\n');
    assert.match(page.html, /bare\.cpp-L\d+[^]*main\.cpp-L\d+/);
});

/** What the replay has: the recordings, the places of the calls, and what follows from them. */
function replayed(expression) {
    const context = vm.createContext({ window: {} });
    for (const name of ['recordings.js', 'state.js']) {
        vm.runInContext(fs.readFileSync(path.join(output, 'assets', name), 'utf8'), context);
    }
    return JSON.parse(vm.runInContext(`JSON.stringify(${expression})`, context));
}

/** The state of a program at a moment, as the replay shows it. */
const stateAt = (program, time, scenario = 'pauses') =>
    replayed(`stateOf(window.recordings.${scenario}['${program}'], ${time})`);

test('in 02, B and C wait in the queue while the server waits for A', () => {
    const state = stateAt('02_blocking_loop', 150);
    assert.deepEqual(state.queue, ['B', 'C']);
    assert.equal(state.clients.A, 'pauses in the middle of its request');
    assert.deepEqual(state.threads, [{ name: 'main', call: 'recv', for: 'A', inCall: true, isOver: false, spin: null }]);
    assert.equal(state.watched, null);
});

test('in 03, the threads of B and C have ended while that of A waits', () => {
    const state = stateAt('03_threaded', 150);
    assert.deepEqual(state.queue, []);
    assert.deepEqual(state.threads.map(({ call, inCall, isOver }) => [call, inCall, isOver]), [
        ['accept4', true, false], ['recv', true, false], ['close', false, true], ['close', false, true],
    ]);
});

test('in 06, the server waits for any, and watches the listener and A', () => {
    const state = stateAt('06_epoll_level', 150);
    assert.equal(state.clients.B, 'has its answer, and left');
    assert.deepEqual(state.threads, [{ name: 'main', call: 'epoll_pwait', for: 'any', inCall: true, isOver: false, spin: null }]);
    assert.deepEqual(state.watched, ['listener', 'A']);
    assert.deepEqual(state.ready, []);
});

/** A moment between the end of one recorded call and the beginning of the next. */
function between(program, isOne) {
    const { calls } = replayed(`window.recordings.pauses['${program}'].threads[0]`);
    const at = calls.findIndex(isOne);
    return (calls[at].end + calls[at + 1].start) / 2;
}

test('what was reported and not received yet is ready in 06, and no longer in 07', () => {
    for (const [stage, ready] of [['06_epoll_level', ['A']], ['07_epoll_edge', []]]) {
        const moment = between(stage, ({ call, result }) => call === 'epoll_pwait' && result.includes('A'));
        assert.deepEqual(stateAt(stage, moment).ready, ready, stage);
    }
});

test('what a wait returned is what was ready before it ended, in every recording', () => {
    const states = replayed(`Object.values(window.recordings).flatMap((programs) => Object.values(programs)).flatMap((recording) =>
        recording.threads[0].calls
            .filter(({ call, result }) => /select$|poll$|^epoll_p?wait$/.test(call) && Array.isArray(result))
            .map(({ call, start, end, result }) => ({
                what: recording.program + ': ' + call + ' at ' + start, result,
                // A client notes what it has done a little later than the kernel has.
                ready: [start, ...momentsOf(recording).filter((moment) => moment > start && moment < end + 1), end - 0.004]
                    .map((moment) => stateOf(recording, moment).ready),
            })),
    )`);
    assert.ok(states.length > 100);
    for (const { what, result, ready } of states) {
        const fits = ready.some((names) => result.every((name) => names.includes(name)));
        assert.ok(fits, `${what} returned ${result}, but ready was ${JSON.stringify(ready)}`);
    }
    const asleep = replayed(`Object.values(window.recordings).flatMap((programs) => Object.values(programs)).flatMap((recording) =>
        recording.threads[0].calls
            .filter(({ call, times, start, end }) => /select$|poll$|^epoll_p?wait$/.test(call) && !times && end - Math.max(start, 0) > 20)
            .map(({ start, end }) => [recording.program, stateOf(recording, (Math.max(start, 0) + end) / 2).ready]),
    )`);
    assert.ok(asleep.length > 20);
    for (const [program, ready] of asleep.filter(([, names]) => names.length)) assert.fail(`${program} waits, and ${ready} is ready`);
});

test('when A leaves, the bare 02 spins, and nobody is served; the server goes on', () => {
    const bare = stateAt('02_blocking_loop_bare', 300, 'leaves');
    assert.equal(bare.clients.A, 'has left in the middle of its request');
    assert.deepEqual(bare.queue, ['B', 'C']);
    assert.deepEqual(bare.threads[0].spin.turn, ['recv']);
    assert.ok(bare.threads[0].spin.times > 100);
    const server = stateAt('02_blocking_loop', 300, 'leaves');
    assert.deepEqual(server.clients, { A: bare.clients.A, B: 'has its answer, and left', C: 'has its answer, and left' });
    assert.equal(server.threads[0].spin, null);
});

test('when A leaves, the bare 06 reports it again and again, and serves the others', () => {
    const { clients, ready, threads } = stateAt('06_epoll_level_bare', 300, 'leaves');
    assert.deepEqual(ready, ['A']);
    assert.deepEqual(threads[0].spin.turn, ['epoll_wait', 'recv']);
    assert.equal(clients.C, 'has its answer, and left');
});

test('in 01, B and C are reset when the server has ended', () => {
    const { clients, threads } = stateAt('01_blocking_single', 344);
    assert.deepEqual([clients.B, clients.C], ['reset: it got nothing', 'reset: it got nothing']);
    assert.ok(threads[0].isOver);
});

test('pages and folders of the stages beyond the seven refer to each other', () => {
    const problems = (file, text) => new Page(file, text).problems;
    assert.deepEqual(problems('docs/06_epoll_level.md', '[x](../beyond/08_workers/bare.cpp), [y](../beyond/08_workers/)'), []);
    assert.match(problems('docs/06_epoll_level.md', '[x](../beyond/08_workers/no.h)')[0], /there is no beyond\/08_workers\/no\.h/);
    assert.deepEqual(problems('beyond/08_workers/README.md', '[x](../../docs/07_epoll_edge.md)'), []);
    const wrong = new Page('docs/08_workers.md', '`Workers::fly()`');
    assert.match(wrong.problems[0], /Workers::fly\(\) is not there/);
    const right = new Page('docs/08_workers.md', '`common.h:Fd`, `Workers::start_thread()`');
    assert.deepEqual(right.problems, []);
    assert.match(right.html, /href="#common\.h-L\d+".*href="#workers\.h-L\d+"/);
    assert.match(fs.readFileSync(path.join(output, 'beyond/08_workers/index.html'), 'utf8'), /Stage before: <a href="\.\.\/\.\.\/07_epoll_edge\/index\.html">/);
});

test('a lesson beyond the seven is beside its code; it can be searched, and has no recorded run', () => {
    const index = fs.readFileSync(path.join(output, 'assets/search-index.js'), 'utf8');
    for (const stage of beyond) {
        const text = fs.readFileSync(path.join(output, `docs/${stage}.html`), 'utf8');
        for (const file of filesOf(stage)) assert.ok(text.includes(`<details class="file" data-file="${file}"`), file);
        assert.ok(text.includes(`What changed since ${stageBefore(stage)}`), stage);
        assert.doesNotMatch(text, /the-run|class="replay"|replay\.js/, stage);
        assert.ok(index.includes(`docs/${stage}.html#main.cpp-L`), stage);
        assert.ok(!index.includes(`docs/${stage}.html#the-run`), stage);
    }
});

test('after the seven lessons come those beyond them', () => {
    const links = (stage) => fs.readFileSync(path.join(output, `docs/${stage}.html`), 'utf8').match(/<a rel="(?:prev|next)".*?<\/a>/g).join('\n');
    assert.match(links(stages.at(-1)), new RegExp(`href="${beyond[0]}\\.html">Beyond the article: ${beyond[0]}&nbsp;→`));
    assert.match(links(beyond[0]), new RegExp(`rel="prev" href="${stages.at(-1)}\\.html">←&nbsp;${stages.at(-1)}<`));
});

test('lessons and reference follow each other', () => {
    const next = (file) => fs.readFileSync(path.join(output, file), 'utf8').match(/rel="next" href="([^"]+)"/)?.[1];
    let file = `docs/${stages[0]}.html`;
    const seen = new Set();
    for (; file && !seen.has(file); file = next(file) && path.posix.join(path.posix.dirname(file), next(file))) seen.add(file);
    for (const page of filesBelow('docs/reference', '.md')) assert.ok(seen.has(page.replace(/\.md$/, '.html')), page);
    assert.deepEqual([...seen].slice(0, allStages.length), allStages.map((stage) => `docs/${stage}.html`));
    assert.equal(file, undefined);
});

test('every lesson has its replay', () => {
    for (const stage of stages) {
        const text = fs.readFileSync(path.join(output, `docs/${stage}.html`), 'utf8');
        assert.equal(text.split(`class="replay" data-stage="${stage}"`).length, 2, stage);
    }
});

test('the server answers what is there, and nothing else ends it', async () => {
    const { server, address } = await serve();
    const { port } = new URL(address);
    const status = (target) =>
        new Promise((resolve, reject) => {
            const request = http.request({ port, path: target }, (response) => resolve(response.resume().statusCode));
            request.on('error', reject).end();
        });
    try {
        for (const target of ['/', '/docs/', '/docs/index.html', '/docs/index.html?x#y']) assert.equal(await status(target), 200, target);
        for (const target of ['/%', '//', '/docs', '/../package.json', '/..%2f..%2fREADME.md', '/nothing']) {
            assert.ok([200, 404].includes(await status(target)), target);
            if (target !== '//') assert.equal(await status(target), 404, target);
        }
    } finally {
        server.close();
    }
});

test('every link of the site leads somewhere', () => {
    const ids = new Map();
    const idsOf = (file) => {
        if (!ids.has(file)) ids.set(file, new Set([...fs.readFileSync(file, 'utf8').matchAll(/ id="([^"]+)"/g)].map((m) => m[1])));
        return ids.get(file);
    };
    for (const name of filesBelow('build/site', '.html')) {
        const file = path.join(output, '../..', name);
        const text = fs.readFileSync(file, 'utf8').replace(/<pre[\s\S]*?<\/pre>/g, (pre) => pre.match(/<a [^>]*>/g)?.join('') ?? '');
        for (const [, target] of text.matchAll(/ (?:href|src)="([^"]+)"/g)) {
            if (/^(https?|data|mailto):/.test(target)) continue;
            const [to, anchor] = target.split('#');
            const there = to ? path.resolve(path.dirname(file), decodeURIComponent(to)) : file;
            assert.ok(fs.existsSync(there), `${name}: ${target}`);
            if (anchor) assert.ok(idsOf(there).has(anchor), `${name}: no #${anchor} in ${target}`);
        }
    }
});

test('each recorded call has a place in the code', () => {
    const recordings = Object.values(replayed('window.recordings')).flatMap((programs) => Object.values(programs));
    const sites = replayed('window.callSites');
    assert.equal(recordings.length, 4 * stages.length);
    for (const { program, threads } of recordings) {
        for (const { call } of threads.flatMap(({ calls }) => calls)) {
            if (call === 'exit_group') continue;
            const site = sites[program][call];
            assert.ok(site, `${program}: ${call}`);
            const text = linesOf(site.file)[site.line - 1];
            assert.match(text, new RegExp(call === 'clone3' ? 'std::j?thread' : `\\b${call}\\(`));
            assert.equal(site.file.endsWith('/bare.cpp'), program.endsWith('_bare'));
        }
    }
});

test('a page is not too large', () => {
    for (const stage of allStages) {
        const page = fs.readFileSync(path.join(output, `docs/${stage}.html`));
        assert.ok(page.length <= 500_000, `${stage}: ${page.length} bytes`);
        assert.ok(zlib.gzipSync(page).length <= 100_000, `${stage}: ${zlib.gzipSync(page).length} bytes, compressed`);
    }
});
