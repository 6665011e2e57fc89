// Where the files of the repository are, and at which address the site has each of them. The site has
// the folders of the repository. A Markdown page becomes NAME.html, a README.md becomes index.html, and
// a source file NAME becomes NAME.html, too, as in main.cpp.html. So a relative link keeps its folders.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const output = path.join(root, 'build/site');

export const read = (file) => fs.readFileSync(path.join(root, file), 'utf8');
export const exists = (file) => fs.existsSync(path.join(root, file));
export const isFolder = (file) => exists(file) && fs.statSync(path.join(root, file)).isDirectory();

export const isPicture = (file) => /\.(svg|png)$/.test(file);

/** Whether a module is the program that was started. */
export const isMain = (url) => Boolean(process.argv[1]) && fs.realpathSync(process.argv[1]) === fileURLToPath(url);

/** The names of a folder's entries, those of folders with a slash at the end. */
export function entriesOf(folder) {
    return fs
        .readdirSync(path.join(root, folder), { withFileTypes: true })
        .map((entry) => entry.name + (entry.isDirectory() ? '/' : ''))
        .filter((name) => !/^(build.*|work|node_modules|\.git|__pycache__)\/$/.test(name))
        .sort();
}

/** All files below a folder whose names end so. */
export function filesBelow(folder, end) {
    return entriesOf(folder).flatMap((name) => {
        const file = path.posix.join(folder, name);
        if (name.endsWith('/')) return filesBelow(file, end);
        return name.endsWith(end) ? [file] : [];
    });
}

/** The names of the stages in a folder, in reading order. */
function stagesIn(folder) {
    return entriesOf(folder)
        .filter((name) => /^\d\d_\w+\/$/.test(name))
        .map((name) => name.slice(0, -1));
}

/** The seven stages of the path, those beyond it, and all of them. */
export const stages = stagesIn('.');
export const beyond = stagesIn('beyond');
export const allStages = [...stages, ...beyond];

/** The folder of a stage. */
export const folderOf = (stage) => (beyond.includes(stage) ? `beyond/${stage}` : stage);

/** The stage that a stage goes on from, as its README.md says; undefined for the first one. */
export function stageBefore(stage) {
    return read(`${folderOf(stage)}/README.md`).match(/Stage before: \[(\w+)\]/)?.[1];
}

/**
 * The files of a stage in the order in which one reads them. Those that only this stage has come after
 * main.cpp. The last two are the same in all stages.
 */
export function filesOf(stage) {
    const first = ['bare.cpp', 'main.cpp', 'workers.h', 'store.h'];
    const last = ['conversation.h', 'poller.h', 'server.h', 'connection.h', 'segments.h', 'common.h', 'console.h'];
    const there = entriesOf(folderOf(stage)).filter((name) => /\.(cpp|h)$/.test(name));
    return [...new Set([...first, ...there.filter((name) => !last.includes(name)), ...last])]
        .filter((name) => there.includes(name))
        .map((name) => `${folderOf(stage)}/${name}`);
}

/** The pages that are written in Markdown. */
export function pages() {
    const lessons = filesBelow('docs', '.md').filter((file) => !file.startsWith('docs/figures/'));
    const ofStages = [...stages.map((stage) => `${stage}/README.md`), ...filesBelow('beyond', 'README.md')];
    return ['README.md', ...lessons, 'tests/README.md', ...ofStages];
}

/** The address of a file or folder of the repository, from the site's root. */
export function addressOf(file) {
    if (file === '' || file === '.') return 'index.html';
    if (isFolder(file)) return path.posix.join(file, 'index.html');
    if (/(^|\/)README\.md$/.test(file)) return file.replace(/README\.md$/, 'index.html');
    if (file.endsWith('.md')) return file.replace(/\.md$/, '.html');
    return isPicture(file) ? file : `${file}.html`;
}

/** The way from one address of the site to another. */
export function relative(from, to) {
    return path.posix.relative(path.posix.dirname(from), to) || path.posix.basename(to);
}

/** Writes a file of the site. */
export function write(address, text) {
    const file = path.join(output, address);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
}

/** Takes over a picture as it is. */
export function copy(file) {
    const target = path.join(output, file);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.copyFileSync(path.join(root, file), target);
}

