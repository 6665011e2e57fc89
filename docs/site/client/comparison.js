// The comparison, with the reader's questions: what does this client meet, and where do two stages differ?
(() => {
    for (const table of document.querySelectorAll('.table table')) {
        const stages = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
        const rows = [...table.tBodies[0].rows];
        const numbers = stages.filter((name) => /^\d\d$/.test(name)).map((name) => [name, name]);
        if (numbers.length < 2) continue; // nothing to compare

        const controls = document.createElement('p');
        controls.className = 'controls';
        const choose = (label, first, names) => {
            const box = document.createElement('select');
            box.append(new Option(first, ''), ...names.map(([name, value]) => new Option(name, value)));
            const words = document.createElement('label');
            words.append(`${label} `, box);
            controls.append(words);
            box.addEventListener('change', show);
            return box;
        };
        const clients = choose('Client', 'all of them', rows.map((row, index) => [row.cells[0].textContent, index]));
        const one = choose('Compare', 'no stage', numbers);
        const two = choose('with', 'no stage', numbers);
        const count = document.createElement('output');
        controls.append(count);
        table.parentElement.before(controls);

        function show() {
            const pair = [one.value, two.value].map((name) => stages.indexOf(name));
            const both = one.value && two.value && one.value !== two.value;
            const differs = (row) => row.cells[pair[0]].textContent !== row.cells[pair[1]].textContent;
            let shown = 0;
            rows.forEach((row, index) => {
                row.hidden = (clients.value !== '' && Number(clients.value) !== index) || (both && !differs(row));
                shown += row.hidden ? 0 : 1;
            });
            for (const row of [table.tHead.rows[0], ...rows]) {
                [...row.cells].forEach((cell, index) => {
                    cell.hidden = both && /^\d\d$/.test(stages[index]) && !pair.includes(index);
                });
            }
            const rule = both ? ` in which ${one.value} and ${two.value} differ` : '';
            const same = both && !shown ? `: ${one.value} and ${two.value} do the same` : '';
            count.textContent = `${shown} of ${rows.length} rows${same || rule}`;
        }
        show();
    }
})();
