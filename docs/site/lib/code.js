// Source files: coloured, with an id for each line, and with an index of their functions.
import { transformerStyleToClass } from '@shikijs/transformers';
import { createCssVariablesTheme, createHighlighter } from 'shiki';

import { calls } from './calls.js';
import { read } from './tree.js';

const languages = {
    bash: 'bash', cpp: 'cpp', css: 'css', h: 'cpp', js: 'javascript', json: 'json', patch: 'diff', py: 'python',
    sh: 'bash', txt: 'cmake', yml: 'yaml',
};
const theme = createCssVariablesTheme({ name: 'site', variablePrefix: '--code-' });
const highlighter = await createHighlighter({
    themes: [theme],
    langs: [...new Set(Object.values(languages)), 'console'],
});
const classes = transformerStyleToClass({ classPrefix: 'c-' });

/** The rules for the colours of all that has been coloured so far. */
export const colourRules = () => classes.getCSS();

/** The language of a file, or of a block that names one. */
export function languageOf(name) {
    if (highlighter.getLoadedLanguages().includes(name)) return name;
    return languages[name.split('.').pop()] ?? 'text';
}

/**
 * Text as HTML. `prefix` begins the id of each line, which the line's number ends, from `first` on.
 * `mark` is called with each line's element and its number, and may change the element.
 */
export function colour(text, language, { prefix, first = 1, mark, links } = {}) {
    const number = (line) => first + line - 1;
    return highlighter.codeToHtml(text.replace(/\n$/, ''), {
        lang: language,
        themes: { any: 'site' },
        mergeWhitespaces: 'never',
        defaultColor: 'any',
        transformers: [
            {
                tokens(lines) {
                    for (const token of lines.flat()) {
                        if (plainColours.has(token.htmlStyle?.color)) delete token.htmlStyle;
                    }
                },
                pre(node) {
                    node.properties.tabindex = '0';
                    delete node.properties.style;
                },
                line(node, line) {
                    node.children = node.children.map((child) => (isPlain(child) ? child.children[0] : child));
                    if (prefix) node.properties.id = prefix + number(line);
                    mark?.(node, number(line));
                },
                span(node, line, column, element, token) {
                    if (!links || language !== 'cpp' || !Object.hasOwn(calls, token.content)) return;
                    const before = this.source.slice(0, token.offset);
                    const after = this.source.slice(token.offset + token.content.length);
                    // A member of something, or a variable that is declared, is no system call.
                    const isOther = /(?:\.|->|[\w>*&] +)$/.test(before) && !/\b(?:return|case) +$/.test(before);
                    if (after.startsWith('(') && !isOther) turnIntoLink(node, links(calls[token.content].page), token.content);
                },
            },
            classes,
        ],
    });
}

// Most of a file has the colour of the text. It needs no element.
const plainColours = new Set(['var(--code-foreground)', 'var(--code-token-punctuation)']);
const isPlain = (node) => node.tagName === 'span' && Object.keys(node.properties).length === 0;

function turnIntoLink(node, address, name) {
    node.tagName = 'a';
    node.properties.href = address;
    node.properties.class = [node.properties.class, 'call'].flat().filter(Boolean).join(' ');
    node.properties['data-call'] = name;
}

const known = new Map();

/** The lines of a file, without the end of the last one. */
export function linesOf(file) {
    if (!known.has(file)) known.set(file, read(file).replace(/\n$/, '').split('\n'));
    return known.get(file);
}

/** The number of the first of these lines in a file, or 0 if they do not stand there together. */
export function placeOf(lines, all, from = 1) {
    for (let start = from - 1; start + lines.length <= all.length; ++start) {
        if (lines.every((line, index) => line === all[start + index])) return start + 1;
    }
    return 0;
}

// What may stand before the name in a definition: nothing, or a type that begins with a word or with [[.
const beginning = String.raw`^ {0,4}(?!return\b|else\b|throw\b|case\b|new\b|delete\b)(?:[\w[][\w:&*<>,~[\] ]*[ &*])?`;
const kinds = {
    '.cpp': (name) => [new RegExp(`${beginning}${name}\\(`), new RegExp(`^(?:class|struct|enum class) ${name}\\b`)],
    '.py': (name) => [new RegExp(`^ *(?:def|class) ${name}\\b`)],
    '.js': (name) => [new RegExp(`^(?:export )?(?:async )?(?:function|const|class) ${name}\\b`)],
    '.bash': (name) => [new RegExp(`^${name}\\(\\)`)],
};

/** Whether a statement that begins in this line is a definition: its body comes before its end. */
function isDefinition(lines, index) {
    const rest = lines.slice(index, index + 12).join('\n').replace(/\/\/.*/g, '');
    const body = rest.search(/\{/);
    const end = rest.search(/;/);
    return body !== -1 && (end === -1 || body < end);
}

/** The line in which a function or class is defined, 0 if there is none. A name may be Class::function. */
export function definitionOf(file, name) {
    const lines = linesOf(file);
    const end = file.match(/\.\w+$/)?.[0] ?? '';
    const rules = kinds[end === '.h' ? '.cpp' : end];
    if (!rules) return 0;
    const isOne = (index) => rules !== kinds['.cpp'] || isDefinition(lines, index);
    const find = (part, from) => {
        const patterns = rules(part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
        return lines.findIndex((line, index) => index >= from && patterns.some((one) => one.test(line)) && isOne(index));
    };
    const whole = find(name, 0); // also a member that is defined outside its class
    if (whole !== -1) return whole + 1;
    const [owner, member] = name.split('::');
    const from = member ? find(owner, 0) : -1;
    if (from === -1) return 0;
    const to = lines.findIndex((line, index) => index > from && /^\};|^(?:class|def) /.test(line));
    const found = find(member, from + 1);
    return found !== -1 && (to === -1 || found < to) ? found + 1 : 0;
}

// What looks like the name of a function in a definition, and is none.
const noNames = new Set(['if', 'for', 'while', 'switch', 'catch', 'sizeof', 'TEST', 'TEST_F', 'TEST_P']);

/** The functions that are defined in a file: the name and the line of each. */
function definitionsIn(file) {
    const lines = linesOf(file);
    const pattern = new RegExp(`${beginning}(~?\\w+)\\(`);
    return lines.flatMap((text, index) => {
        const name = text.match(pattern)?.[1];
        const isOne = name && !noNames.has(name) && !/^ *:/.test(text) && isDefinition(lines, index);
        return isOne ? [{ name, line: index + 1 }] : [];
    });
}

/** All functions of these files, by name: where each is defined. */
export function functionsOf(files) {
    const found = new Map();
    for (const file of files) {
        for (const { name, line } of definitionsIn(file)) {
            if (!found.has(name)) found.set(name, []);
            found.get(name).push({ file, line });
        }
    }
    return found;
}

/** The class that a line of a file is in, as "Name::"; nothing if it is in none. */
export function ownerOf(file, line) {
    const above = linesOf(file).slice(0, line - 1);
    const start = above.findLastIndex((text) => /^(?:class|struct) \w+/.test(text));
    if (start === -1 || above.slice(start).some((text) => text.startsWith('};'))) return '';
    return `${above[start].match(/^(?:class|struct) (\w+)/)[1]}::`;
}

/** Each function of a file: its name, and its first and last line. */
export function rangesOf(file) {
    const lines = linesOf(file);
    return definitionsIn(file).flatMap(({ name, line }) => {
        const indent = lines[line - 1].match(/^ */)[0];
        const body = lines.findIndex((text, index) => index >= line - 1 && /[{}]\s*(?:\/\/.*)?$/.test(text));
        if (/\}\s*(?:\/\/.*)?$/.test(lines[body])) return [[name, line, body + 1]]; // begins and ends in a line
        const end = lines.findIndex((text, index) => index > body && (text === `${indent}}` || text === `${indent}};`));
        return end === -1 ? [] : [[name, line, end + 1]];
    });
}
