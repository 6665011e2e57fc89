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
                    const name = token.content.trim();
                    const rest = this.source.slice(token.offset + token.content.length);
                    if (!links || !Object.hasOwn(calls, name) || !/^ *\(/.test(rest)) return;
                    turnIntoLink(node, name, links(calls[name].page));
                },
            },
            classes,
        ],
    });
}

// Most of a file has the colour of the text. It needs no element.
const plainColours = new Set(['var(--code-foreground)', 'var(--code-token-punctuation)']);
const isPlain = (node) => node.tagName === 'span' && Object.keys(node.properties).length === 0;

function turnIntoLink(node, name, address) {
    node.tagName = 'a';
    node.properties.href = address;
    node.properties.class = [node.properties.class, 'call'].flat().filter(Boolean).join(' ');
    node.properties['data-call'] = name;
}

/** The lines of a file, without the end of the last one. */
export const linesOf = (file) => read(file).replace(/\n$/, '').split('\n');

/** The number of the first of these lines in a file, or 0 if they do not stand there together. */
export function placeOf(lines, all, from = 1) {
    for (let start = from - 1; start + lines.length <= all.length; ++start) {
        if (lines.every((line, index) => line === all[start + index])) return start + 1;
    }
    return 0;
}

const beginning = String.raw`^ {0,4}(?!return\b|else\b|throw\b|case\b|new\b|delete\b)(?:[\w:&*<>,~[\] ]+[ &*])?`;
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
    let from = 0;
    for (const part of name.split('::')) {
        from = find(part, from);
        if (from === -1) return 0;
    }
    return from + 1;
}

/** The functions that are defined in these files, by name: the first file and line of each. */
export function functionsOf(files) {
    const found = new Map();
    for (const file of files) {
        const lines = linesOf(file);
        const pattern = new RegExp(`${beginning}(~?\\w+)\\(`);
        lines.forEach((line, index) => {
            const name = line.match(pattern)?.[1];
            if (!name || /^(if|for|while|switch|catch|check|sizeof)$/.test(name) || found.has(name)) return;
            if (isDefinition(lines, index)) found.set(name, { file, line: index + 1 });
        });
    }
    return found;
}

/** Each function of a file: its name, and its first and last line. */
export function rangesOf(file) {
    const lines = linesOf(file);
    return [...functionsOf([file])].flatMap(([name, { line }]) => {
        const indent = lines[line - 1].match(/^ */)[0];
        const length = lines.slice(line).findIndex((text) => text === `${indent}}` || text === `${indent}};`);
        return length === -1 ? [] : [[name, line, line + length + 1]];
    });
}
