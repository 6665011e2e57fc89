// A Markdown page of the docs as HTML. Everything that it refers to must be there: files, headings,
// functions, tests, and the lines of code that it shows.
import path from 'node:path';
import MarkdownIt from 'markdown-it';

import { colour, definitionOf, functionsOf, languageOf, linesOf, placeOf } from './code.js';
import { addressOf, allStages, exists, filesOf, folderOf, isFolder, read, relative, stages } from './tree.js';
import { placeOfTest } from './tests.js';

export const escape = (text) =>
    text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');

/** The name that GitHub gives to a heading. */
export const anchorOf = (heading) =>
    heading.toLowerCase().replace(/[^\p{L}\p{N}_\- ]/gu, '').replace(/ /g, '-');

/** The words of some text, without its marks. */
const wordsOf = (token) => token.children.map((child) => (child.type === 'softbreak' ? ' ' : child.content)).join('');

const isTest = /^[A-Z]\w+\.[A-Z]\w+$/;

/** The stage that a lesson is about, if the page is one. */
export const stageOf = (file) => allStages.find((stage) => file === `docs/${stage}.md`);

/**
 * One page. `html` is what stands in its middle; `headings` are all of it, the title first.
 * `blocks` are the places in source files that it shows, `names` those of functions that it names,
 * `links` what it refers to, with an anchor or none, and `problems` what is wrong with it, in words.
 */
export class Page {
    constructor(file, text = read(file)) {
        this.file = file;
        this.address = addressOf(file);
        this.headings = [];
        this.sections = [];
        this.anchors = new Set();
        this.blocks = [];
        this.names = [];
        this.links = [];
        this.problems = [];
        this.stage = stageOf(file);
        this.functions = this.stage ? functionsOf(filesOf(this.stage)) : new Map();
        this.html = this.render(text);
        this.title = this.headings.find((heading) => heading.level === 1)?.text ?? file;
    }

    complain(what) {
        this.problems.push(`${this.file}: ${what}`);
    }

    render(text) {
        const markdown = new MarkdownIt({ html: true });
        const rules = markdown.renderer.rules;
        const rest = (tokens, index, options, _env, self) => self.renderToken(tokens, index, options);
        let inLink = false; // then what stands in it is no link of its own
        rules.fence = (tokens, index) => this.block(tokens[index]);
        rules.code_inline = (tokens, index) => {
            const text = tokens[index].content;
            return inLink ? `<code>${escape(text)}</code>` : this.codeSpan(text);
        };
        rules.heading_open = (tokens, index, ...more) => {
            this.heading(tokens[index], wordsOf(tokens[index + 1]));
            return rest(tokens, index, ...more);
        };
        rules.link_open = (tokens, index, ...more) => {
            inLink = true;
            this.link(tokens[index], 'href', tokens[index + 1].content);
            return rest(tokens, index, ...more);
        };
        rules.link_close = (tokens, index, ...more) => {
            inLink = false;
            return rest(tokens, index, ...more);
        };
        rules.image = (tokens, index, ...more) => {
            this.link(tokens[index], 'src');
            tokens[index].attrSet('alt', tokens[index].content);
            return `<a class="picture" href="${tokens[index].attrGet('src')}">${rest(tokens, index, ...more)}</a>`;
        };
        rules.table_open = () => '<div class="table" tabindex="0"><table>\n';
        rules.table_close = () => '</table></div>\n';
        markdown.core.ruler.push('notes', (state) => notes(state.tokens));
        const withoutComments = (tokens, index) => tokens[index].content.replace(/<!--[\s\S]*?-->/g, '');
        rules.html_block = rules.html_inline = withoutComments;
        const tokens = markdown.parse(text, {});
        const html = markdown.renderer.render(tokens, markdown.options, {});
        this.collectSections(tokens);
        return html;
    }

    heading(token, text) {
        let anchor = anchorOf(text);
        for (let number = 1; this.anchors.has(anchor); ++number) anchor = `${anchorOf(text)}-${number}`;
        this.anchors.add(anchor);
        token.attrSet('id', anchor);
        this.headings.push({ level: Number(token.tag[1]), text, anchor });
    }

    /** The words of each section, for the search. */
    collectSections(tokens) {
        let number = -1;
        const words = [];
        for (const token of tokens) {
            if (token.type === 'heading_open') ++number;
            else if (token.type === 'fence') (words[number] ??= []).push(token.content);
            else if (token.type === 'inline') (words[number] ??= []).push(wordsOf(token));
        }
        this.sections = this.headings.map((heading, index) => ({ ...heading, words: (words[index] ?? []).join(' ') }));
    }

    /** Turns a link to a file of the repository into one to its page; to the test if the words name one. */
    link(token, attribute, words = '') {
        const target = token.attrGet(attribute);
        if (/^[a-z]+:/.test(target)) return;
        const [name, ownAnchor = ''] = target.split('#');
        const file = name ? path.posix.normalize(path.posix.join(path.posix.dirname(this.file), name)) : this.file;
        const test = placeOfTest(words);
        if (isTest.test(words) && !test) this.complain(`there is no test ${words}`);
        const anchor = test && test.file === file ? `L${test.line}` : ownAnchor;
        token.attrSet(attribute, this.addressFor(file.replace(/\/$/, ''), anchor));
    }

    /** The address of a file, seen from this page. Notes that the page refers to it. */
    addressFor(file, anchor = '') {
        if (file === '..' || file.startsWith('../')) this.complain(`${file} is outside of the repository`);
        else if (!exists(file)) this.complain(`there is no ${file}`);
        else this.links.push({ file, anchor });
        const hash = anchor && `#${anchor}`;
        return file === this.file && hash ? hash : relative(this.address, addressOf(file)) + hash;
    }

    /** A link to a line of a file: in the pane beside the lesson, or on the file's own page. */
    toLine(file, line, inner) {
        const own = this.stage && file.startsWith(`${folderOf(this.stage)}/`);
        if (!own) return `<a class="to-code" href="${this.addressFor(file, `L${line}`)}">${inner}</a>`;
        const id = `name-${this.names.length + 1}`;
        this.names.push({ file, line, id });
        return `<a class="to-code" id="${id}" href="#${lineId(file, line)}">${inner}</a>`;
    }

    codeSpan(text) {
        const inner = `<code>${escape(text)}</code>`;
        const [, file, name] = text.match(/^([\w./-]+\.(?:cpp|h|py|js|bash)):([\w:~]+)$/) ?? [];
        if (file) {
            // common.h and console.h are the same in all stages.
            const whole = [file, `${folderOf(this.stage ?? stages.at(-1))}/${file}`].find(exists);
            const line = whole && definitionOf(whole, name);
            if (!line) this.complain(`${text} is not there`);
            return line ? this.toLine(whole, line, inner) : inner;
        }
        if (isTest.test(text)) {
            const place = placeOfTest(text);
            if (!place) this.complain(`there is no test ${text}`);
            return place ? this.toLine(place.file, place.line, inner) : inner;
        }
        const [, owner, called] = text.match(/^(?:(\w+)::)?(~?\w+)\(\)$/) ?? [];
        const place = called && this.placeOfFunction(owner, called);
        return place ? this.toLine(place.file, place.line, inner) : inner;
    }

    /**
     * Where a function is that a lesson names. The first half of a lesson is about the bare program, and
     * "What it takes" about the server.
     */
    placeOfFunction(owner, name) {
        if (owner === 'std' || !this.stage) return undefined;
        if (owner) {
            const file = filesOf(this.stage).find((one) => definitionOf(one, `${owner}::${name}`));
            if (!file) this.complain(`${owner}::${name}() is not there`);
            return file && { file, line: definitionOf(file, `${owner}::${name}`) };
        }
        const places = this.functions.get(name) ?? [];
        const isAboutBare = !this.anchors.has('what-it-takes');
        return places.find(({ file }) => file.endsWith('/bare.cpp') === isAboutBare) ?? places[0];
    }

    // ---- Blocks ------------------------------------------------------------------------------

    block(token) {
        const [language = 'text', ...words] = token.info.trim().split(/\s+/).filter(Boolean);
        const text = token.content;
        if (language === 'cpp' && words[0] && words[0] !== 'sketch') return this.lines(words[0], text);
        if (language === 'diff') return this.difference(words, text);
        const captions = { second: 'in the second terminal', third: 'in the third terminal' };
        const caption = language === 'console' ? (captions[words[0]] ?? 'in the first terminal') : '';
        return figure(caption, colour(text, languageOf(language === 'sh' ? 'bash' : language)), language);
    }

    /** Lines of a file, as they stand there. */
    lines(file, text) {
        const lines = text.replace(/\n$/, '').split('\n');
        const first = exists(file) && !isFolder(file) ? placeOf(lines, linesOf(file)) : 0;
        if (!first) {
            this.complain(`these lines are not in ${file}: ${lines[0]}`);
            return '';
        }
        const place = this.remember(file, [{ first, last: first + lines.length - 1 }]);
        const caption = this.toLine(file, first, `${file}, line ${first}`);
        return figure(caption, colour(text, languageOf(file), { links: (target) => this.toExplanation(target) }), 'cpp', place);
    }

    /** Lines of a difference between two files, or of a patch. What is new stands in the second file. */
    difference(files, text) {
        const html = colour(text, 'diff');
        const missing = files.find((file) => !exists(file));
        if (files.length === 0) this.complain('a difference that does not say of which files');
        if (missing) this.complain(`there is no ${missing}`);
        if (missing || files.length === 0) return figure('', html, 'diff');
        if (files.length === 1) return figure(this.patchCaption(files[0]), html, 'diff');
        const hunks = text.replace(/\n$/, '').split(/\n?^@@.*\n/m).map((hunk) => hunk.split('\n'));
        this.placesOfHunks(files[0], hunks, '+');
        const places = this.placesOfHunks(files[1], hunks, '-');
        const caption = `${escape(files[0])} → ${this.toLine(files[1], places[0].first, escape(files[1]))}`;
        return figure(caption, html, 'diff', this.remember(files[1], places));
    }

    /** Where the hunks of a difference are in one of its files: all lines but those of the other one. */
    placesOfHunks(file, hunks, others) {
        let from = 1;
        return hunks.map((hunk) => {
            const lines = hunk.filter((line) => !line.startsWith(others)).map((line) => line.slice(1));
            const first = lines.length ? placeOf(lines, linesOf(file), from) : from;
            if (!first) this.complain(`these lines are not in ${file}: ${lines[0]}`);
            from = (first || from) + lines.length;
            return { first: first || 1, last: Math.max(first, from - 1) };
        });
    }

    patchCaption(file) {
        return `<a href="${this.addressFor(file)}">${escape(file)}</a>`;
    }

    /** A block that shows these parts of a file: each has a first and a last line. */
    remember(file, parts) {
        const block = { id: `block-${this.blocks.length + 1}`, file, parts };
        this.blocks.push(block);
        return block;
    }

    /** The address of where a system call is explained. */
    toExplanation(target) {
        const [file, anchor] = target.split('#');
        return this.addressFor(file, anchor);
    }
}

/** The id of a line in the pane beside a lesson. */
export const lineId = (file, line) => `${path.posix.basename(file)}-L${line}`;

function figure(caption, html, kind, block) {
    const lines = block?.parts.map(({ first, last }) => `${first}-${last}`).join(' ');
    const place = block ? ` id="${block.id}" data-file="${block.file}" data-lines="${lines}"` : '';
    const line = caption ? `<figcaption>${caption}</figcaption>` : '';
    return `<figure class="block ${kind}"${place}>${line}${html}</figure>\n`;
}

/** Turns quotations that begin with [!NOTE] and the like into boxes, as GitHub does. */
function notes(tokens) {
    tokens.forEach((token, index) => {
        if (token.type !== 'blockquote_open') return;
        const text = tokens[index + 2];
        const kind = text?.content.match(/^\[!(NOTE|WARNING|TIP)\]\s*/)?.[1];
        if (!kind) return;
        const end = tokens.findIndex((other, at) => at > index && other.type === 'blockquote_close' && other.level === token.level);
        token.tag = tokens[end].tag = 'aside';
        token.attrSet('class', kind.toLowerCase());
        text.children.splice(0, text.children[1]?.type === 'softbreak' ? 2 : 1);
    });
}
