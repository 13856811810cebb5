/**
 * Recipes of typed steps that go on where they stopped. Knows nothing of tensors or images.
 *
 * @module
 */
export { type Description, type StepDescription } from "./describe.ts";
export { type ControlFile, controlName, type StepControl, type Wish, wishes } from "./control.ts";
export { checkDiskSpace, DiskSpaceError, type DiskUse } from "./disk_space.ts";
export { InterruptedError, Pace, type RunEvent, type StepEvent } from "./events.ts";
export { type FileRecord, hashFile, hashJson, recordFolder } from "./hash.ts";
export { type JournalLine, journalName } from "./journal.ts";
export { isRunning, lockFolder, lockName } from "./lock.ts";
export { noteRead } from "./reads.ts";
export { outputFolder, type Started, startedHere } from "./started.ts";
export {
  type InputRecord,
  type OutputRecord,
  readRunRecord,
  type RecordOptions,
  type RunExit,
  type RunRecord,
  runRecordName,
  type StartRecord,
  type StepRecord,
} from "./run_record.ts";
export { versions } from "./versions.ts";
export { Pipeline, pipeline } from "./pipeline.ts";
export { type RunOptions, type RunResult } from "./run.ts";
export {
  defineStep,
  type EarlierStart,
  InputError,
  type Plan,
  type Step,
  type StepDefinition,
  type StepRun,
  type Store,
} from "./step.ts";
export { descriptionText, durationText, eventText, paceText, sizeText } from "./text.ts";
export {
  type Nothing,
  type PlannedOf,
  type PlannedValues,
  type Replacing,
  replacing,
  type Thing,
  thing,
  type Things,
  type ValueOf,
  type Values,
} from "./thing.ts";
export {
  type AnyStep,
  type ContextAfter,
  type Fitting,
  type GoneAfter,
  type PipelineTypeError,
} from "./type_errors.ts";
