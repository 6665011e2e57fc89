// What changed from one stage to the next, and from a bare program to its server.
import { structuredPatch } from 'diff';

import { calls } from './calls.js';
import { linesOf } from './code.js';
import { exists, filesOf, read, stages } from './tree.js';

/**
 * What changed in each file of a stage since the stage before. A hunk has the number of its first line
 * in the new file, and its lines, each with "+", "-" or " " in front.
 */
export function changesSince(stage) {
    const before = stages[stages.indexOf(stage) - 1];
    if (!before) return [];
    return filesOf(stage).map((file) => {
        const old = file.replace(stage, before);
        if (!exists(old)) return { file, old: '', hunks: [] };
        const { hunks } = structuredPatch(old, file, read(old), read(file), '', '', { context: 3 });
        return { file, old, hunks: hunks.map((hunk) => ({ first: hunk.newStart, lines: hunk.lines })) };
    });
}

const names = Object.keys(calls).join('|');

// The server makes another call for the same purpose: with flags, or with a signal mask.
const counterparts = { accept: 'accept4', select: 'pselect', poll: 'ppoll', epoll_wait: 'epoll_pwait' };

/** Each call of a bare program, with the lines in which the server makes the same call. */
export function callsOfBare(stage) {
    const [bare, ...files] = filesOf(stage).filter((file) => !file.endsWith('/console.h'));
    return linesOf(bare).flatMap((text, index) => {
        const name = text.replace(/\/\/.*/, '').match(new RegExp(`(?<![\\w.])(${names})\\(`))?.[1];
        if (!name) return [];
        const there = counterparts[name] ?? name;
        const places = files.flatMap((file) =>
            linesOf(file).flatMap((line, number) =>
                new RegExp(`::${there}\\(`).test(line) ? [{ file, line: number + 1 }] : [],
            ),
        );
        return [{ name, line: index + 1, text: text.trim(), places }];
    });
}

// Where to look first for a call that is made in two places: there it is part of a conversation.
const likely = ['conversation.h', 'connection.h', 'poller.h', 'server.h', 'main.cpp', 'common.h'];

/** Where a server makes each of these calls, as they are named in a recording. */
export function sitesOf(stage, recorded) {
    const files = likely.map((name) => `${stage}/${name}`).filter(exists);
    const sites = {};
    for (const call of recorded) {
        const pattern = call === 'clone3' ? /std::jthread\(/ : new RegExp(`::${call}\\(`);
        for (const file of files) {
            const line = linesOf(file).findIndex((text) => pattern.test(text)) + 1;
            if (line && !sites[call]) sites[call] = { file, line };
        }
    }
    return sites;
}
