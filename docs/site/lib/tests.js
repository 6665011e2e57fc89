// Where each test is, so that its name can lead there.
import { filesBelow } from './tree.js';
import { linesOf } from './code.js';

const places = new Map();
for (const file of filesBelow('tests', '_test.cpp')) {
    linesOf(file).forEach((line, index) => {
        const found = line.match(/^(?:TYPED_)?TEST(?:_[FP])?\((\w+), (\w+)\)/);
        if (found) places.set(`${found[1]}.${found[2]}`, { file, line: index + 1 });
    });
}

/** Where a test is whose name is Suite.Test, or undefined. */
export const placeOfTest = (name) => places.get(name);
