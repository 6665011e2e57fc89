// Builds the site in build/site/ from the Markdown and the sources as they are. Run: npm run build
import fs from 'node:fs';
import path from 'node:path';
import MiniSearch from 'minisearch';

import { colourRules, linesOf, ownerOf, rangesOf } from './lib/code.js';
import { calls } from './lib/calls.js';
import { sitesOf } from './lib/changes.js';
import { lineId, Page } from './lib/markdown.js';
import { folderPage, lessonPage, sourcePage, textPage } from './lib/template.js';
import { placeOfTest } from './lib/tests.js';
import * as tree from './lib/tree.js';

const here = path.join(tree.root, 'docs/site');

/** The folders that lead to a file, each with its address. */
function pathTo(file) {
    const folders = file.split('/').slice(0, -1);
    return folders.map((name, index) => [name, tree.addressOf(folders.slice(0, index + 1).join('/'))]);
}

/** The links of a page that lead to a heading that is not there. */
function deadAnchors(page, byFile) {
    return page.links
        .filter(({ file, anchor }) => anchor && !hasAnchor(byFile, file, anchor))
        .map(({ file, anchor }) => `${page.file}: ${file} has no #${anchor}`);
}

/** Whether a page has this heading, or a source file this line. */
function hasAnchor(byFile, file, anchor) {
    const page = byFile.get(tree.isFolder(file) ? path.posix.join(file, 'README.md') : file);
    if (page) return page.anchors.has(decodeURIComponent(anchor));
    const line = anchor.match(/^L(\d+)$/)?.[1];
    return line !== undefined && !tree.isFolder(file) && Number(line) <= linesOf(file).length;
}

/** Files and folders that pages refer to, and that are no pages themselves; and what is in the folders. */
function referredTo(pages) {
    const known = new Set(pages.map((page) => page.file));
    const wanted = new Set(pages.flatMap((page) => [...page.links.map((link) => link.file), ...above(page.file)]));
    for (const call of Object.values(calls)) wanted.add(call.page.split('#')[0]).add(placeOfTest(call.test).file);
    for (const file of wanted) {
        for (const folder of above(file)) wanted.add(folder);
        if (!tree.isFolder(file)) continue;
        for (const name of tree.entriesOf(file)) wanted.add(path.posix.join(file, name.replace(/\/$/, '')));
    }
    const isPage = (file) => known.has(file) || known.has(path.posix.join(file, 'README.md'));
    return [...wanted].filter((file) => file && !isPage(file));
}

function above(file) {
    const folders = path.posix.dirname(file).split('/');
    return folders[0] === '.' ? [] : folders.map((_, index) => folders.slice(0, index + 1).join('/'));
}

/** Writes the page of a source file or folder. */
function writeSource(file) {
    const address = tree.addressOf(file);
    if (tree.isPicture(file)) return tree.copy(file);
    if (tree.isFolder(file)) {
        const entries = tree.entriesOf(file).map((name) => [name, tree.addressOf(path.posix.join(file, name.replace(/\/$/, '')))]);
        return tree.write(address, folderPage(address, file, entries, pathTo(file)));
    }
    return tree.write(address, sourcePage(address, file, pathTo(file), toPageFrom(address)));
}

/** How a call in code leads from a page to where it is explained. */
function toPageFrom(address) {
    return (target) => {
        const [file, anchor] = target.split('#');
        return tree.relative(address, tree.addressOf(file)) + (anchor ? `#${anchor}` : '');
    };
}

/** The lessons, those beyond the seven, and then the reference in the order in which docs/README.md names it. */
function readingOrder(byFile) {
    const named = byFile.get('docs/README.md').links.map(({ file }) => byFile.get(file));
    const lessons = tree.allStages.map((stage) => byFile.get(`docs/${stage}.md`));
    return [...new Set([...lessons, ...named.filter((page) => page?.file.startsWith('docs/reference/'))])];
}

/** What of a lesson's code can be searched for: its functions, and the recorded run if there is one. */
function codeOfLesson({ stage, address }) {
    const functions = tree.filesOf(stage).flatMap((file) =>
        rangesOf(file).map(([name, line]) => ({
            address: `${address}#${lineId(file, line)}`, heading: `${ownerOf(file, line)}${name}()`, title: file, words: '',
        })),
    );
    const run = { address: `${address}#the-run`, heading: 'The recorded run, moment by moment', title: stage, words: 'replay timeline' };
    const runs = tree.stages.includes(stage) ? [run] : [];
    return [...functions, ...runs].map((entry, index) => ({ id: `${address} ${index}`, ...entry }));
}

function searchIndex(pages) {
    const index = new MiniSearch({ fields: ['heading', 'title', 'words'], storeFields: ['heading', 'title', 'address'] });
    const sections = pages.flatMap((page) =>
        page.sections.map(({ text, anchor, words }) => ({
            id: `${page.address}#${anchor}`, address: `${page.address}#${anchor}`, heading: text, title: page.title, words,
        })),
    );
    index.addAll([...sections, ...pages.filter(({ stage }) => stage).flatMap(codeOfLesson)]);
    return JSON.stringify(index.toJSON());
}

/** The recordings, and where the recorded calls are in the code, for the replay. */
function writeRecordings() {
    const recordings = {};
    const sites = {};
    for (const scenario of ['pauses', 'leaves']) {
        recordings[scenario] = {};
        for (const program of tree.stages.flatMap((stage) => [stage, `${stage}_bare`])) {
            const recording = JSON.parse(tree.read(`docs/recordings/${scenario}/${program}.json`));
            recordings[scenario][program] = recording;
            const calls = recording.threads.flatMap((thread) => thread.calls.map(({ call }) => call));
            sites[program] = { ...sites[program], ...sitesOf(program, new Set(calls)) };
        }
    }
    const text = `window.recordings = ${JSON.stringify(recordings)};\nwindow.callSites = ${JSON.stringify(sites)};\n`;
    tree.write('assets/recordings.js', text);
}

function addressOfTest(name) {
    const { file, line } = placeOfTest(name);
    return `${tree.addressOf(file)}#L${line}`;
}

function writeAssets(pages) {
    for (const name of fs.readdirSync(path.join(here, 'client'))) {
        tree.write(`assets/${name}`, fs.readFileSync(path.join(here, 'client', name), 'utf8'));
    }
    // By now everything has been coloured.
    fs.appendFileSync(path.join(tree.output, 'assets/style.css'), colourRules());
    const library = fs.readFileSync(path.join(here, 'node_modules/minisearch/dist/umd/index.js'), 'utf8');
    tree.write('assets/search-index.js', `${library}\nwindow.searchIndex = ${searchIndex(pages)};\n`);
    writeRecordings();
    const known = Object.entries(calls).map(([name, call]) => [name, { ...call, testAddress: addressOfTest(call.test) }]);
    tree.write('assets/calls.js', `window.calls = ${JSON.stringify(Object.fromEntries(known))};\n`);
}

/** Builds everything. Returns what is wrong with the pages, in words; then nothing has been written. */
export function build() {
    const pages = tree.pages().map((file) => new Page(file));
    const byFile = new Map(pages.map((page) => [page.file, page]));
    const problems = pages.flatMap((page) => [...page.problems, ...deadAnchors(page, byFile)]);
    for (const [name, call] of Object.entries(calls)) {
        const [file, anchor] = call.page.split('#');
        if (!placeOfTest(call.test)) problems.push(`${name}: there is no test ${call.test}`);
        if (!byFile.get(file) || (anchor && !byFile.get(file).anchors.has(anchor))) problems.push(`${name}: there is no ${call.page}`);
    }
    if (problems.length) return problems;
    fs.rmSync(tree.output, { recursive: true, force: true });
    const order = readingOrder(byFile);
    const exercises = pages.filter(({ file }) => /^docs\/exercises\/\d/.test(file)); // in order, by their names
    for (const page of pages) {
        const trail = pathTo(page.file);
        const neighbours = exercises.includes(page) ? exercises : order;
        const html = page.stage ? lessonPage(page, trail, order, toPageFrom(page.address)) : textPage(page, trail, neighbours);
        tree.write(page.address, html);
    }
    for (const file of referredTo(pages)) writeSource(file);
    writeAssets(pages);
    return [];
}

if (tree.isMain(import.meta.url)) {
    const problems = build();
    for (const problem of problems) console.error(problem);
    if (problems.length) process.exit(1);
    console.log(path.join(tree.output, 'index.html'));
}
