// What changed from one stage to the next, and from a bare program to its server.
import { structuredPatch } from 'diff';

import { calls } from './calls.js';
import { linesOf } from './code.js';
import { exists, filesOf, folderOf, read, stageBefore } from './tree.js';

/**
 * What changed in each file of a stage since the stage before. A hunk has the number of its first line
 * in the new file, and its lines, each with "+", "-" or " " in front.
 */
export function changesSince(stage) {
    const before = stageBefore(stage);
    if (!before) return [];
    return filesOf(stage).map((file) => {
        const old = file.replace(folderOf(stage), folderOf(before));
        if (!exists(old)) return { file, old: '', hunks: [] };
        const { hunks } = structuredPatch(old, file, read(old), read(file), '', '', { context: 3 });
        return { file, old, hunks: hunks.map((hunk) => ({ first: hunk.newStart, lines: hunk.lines })) };
    });
}

// The server makes another call for the same purpose: with flags, or with a signal mask.
const counterparts = { accept: 'accept4', select: 'pselect', poll: 'ppoll', epoll_wait: 'epoll_pwait' };

const codeOf = (line) => line.replace(/\/\/.*/, '');
const patterns = new Map(Object.keys(calls).map((name) => [name, new RegExp(`(?<![\\w.>]|Fd )${name}\\(`)]));

/** The lines of these files in which a call is made. */
function placesOf(name, files) {
    return files.flatMap((file) =>
        linesOf(file).flatMap((line, index) => (patterns.get(name).test(codeOf(line)) ? [{ file, line: index + 1 }] : [])),
    );
}

/** Each call of a bare program, with the lines in which the server makes the same call. */
export function callsOfBare(stage) {
    const [bare, ...files] = filesOf(stage).filter((file) => !file.endsWith('/console.h'));
    return linesOf(bare).flatMap((text, index) => {
        const name = [...patterns.keys()].find((each) => patterns.get(each).test(codeOf(text)));
        if (!name) return [];
        return [{ name, line: index + 1, text: text.trim(), places: placesOf(counterparts[name] ?? name, files) }];
    });
}

// A recorded call is part of a conversation. So the first of these files that makes it counts.
const likely = ['conversation.h', 'connection.h', 'poller.h', 'server.h', 'main.cpp', 'common.h'];

/** Where a program, 06_epoll_level or 06_epoll_level_bare, makes each of these recorded calls. */
export function sitesOf(program, recorded) {
    const isBare = program.endsWith('_bare');
    const stage = program.replace(/_bare$/, '');
    const files = (isBare ? ['bare.cpp'] : likely).map((name) => `${stage}/${name}`).filter(exists);
    const sites = {};
    for (const call of recorded) {
        const place = call === 'clone3' ? placeOfThread(files) : patterns.has(call) && placesOf(call, files)[0];
        if (place) sites[call] = place;
    }
    return sites;
}

/** Where the thread is started that clone3 has made. */
function placeOfThread(files) {
    for (const file of files) {
        const line = linesOf(file).findIndex((text) => /std::j?thread[( ]/.test(text)) + 1;
        if (line) return { file, line };
    }
    return undefined;
}
