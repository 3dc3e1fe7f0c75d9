import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Progress } from './progress.ts';

describe('the progress of a start', () => {
  it('is one line that ends once', () => {
    let text = '';
    const progress = new Progress((more) => void (text += more));
    progress.breakOff();
    for (const step of ['Starting', ' a ✓', ' b ✓']) progress.add(step);
    progress.breakOff();
    progress.breakOff();
    assert.equal(text, 'Starting a ✓ b ✓\n');
  });

  it('gives what others print a line of its own, and is said again as a whole', () => {
    let text = '';
    const progress = new Progress((more) => void (text += more));
    const print = (line: string): void => {
      progress.breakOff();
      text += `${line}\n`;
    };
    progress.add('Starting');
    progress.add(' a ✓');
    print('[a] one');
    print('[b] two');
    progress.add(' b ✓');
    progress.add(' c ✓');
    progress.breakOff();
    assert.equal(text, 'Starting a ✓\n[a] one\n[b] two\nStarting a ✓ b ✓ c ✓\n');
  });
});
