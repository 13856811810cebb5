/**
 * DreamBooth folders: `10_sks dog` is 10 repeats of the pictures in it, with the class tokens "sks dog".
 *
 * @module
 */
import { join } from "node:path";
import { stripText } from "./caption.ts";
import { DataFolderError, type FolderWarning, imageExtensions, isImageName, listFolder } from "./image_folder.ts";

/** One `N_name` folder. */
export interface DreamboothFolder {
  readonly path: string;
  /** How often each picture is shown in an epoch; at least 1. */
  readonly repeats: number;
  /** What stands after the number: the caption of pictures without a caption file. */
  readonly classTokens: string;
}

/** Value of a decimal digit of any script: Unicode keeps the ten of a script together, with zero first. */
function digitValue(digit: string): number {
  let before = 0;
  while (/^\p{Nd}$/u.test(String.fromCodePoint(digit.codePointAt(0)! - before - 1))) before++;
  return before % 10;
}

/**
 * Repeats and class tokens from a folder's name, with Python's `int` for the number: blanks around it, a sign and
 * digits of any script count.
 *
 * @returns `undefined` if the name is no `N_name` or N is below 1: such folders are left out.
 * @example
 * ```ts
 * import { deepEqual, equal } from "node:assert/strict";
 * deepEqual(parseFolderName("10_sks dog"), { repeats: 10, classTokens: "sks dog" });
 * equal(parseFolderName("sks dog"), undefined);
 * ```
 */
export function parseFolderName(name: string): { repeats: number; classTokens: string } | undefined {
  const [first, ...rest] = name.split("_");
  const number = /^([+-]?)(\p{Nd}+)$/u.exec(stripText(first));
  if (number === null) return undefined;
  const size = Number([...number[2]].map(digitValue).join(""));
  const repeats = number[1] === "-" ? -size : size;
  return repeats < 1 ? undefined : { repeats, classTokens: rest.join("_") };
}

/**
 * Finds the `N_name` subfolders of a data folder. Their content is not read.
 *
 * @param path The folder that `--train_data_dir` or `--reg_data_dir` names.
 * @param what What the folder is, for messages: "training", "regularization".
 * @param options.mayBeEmpty A folder with nothing in it is no error.
 * @returns Folders by name in code-point order, and warnings about what is left out.
 * @throws {DataFolderError} If the folder is missing or has no `N_name` subfolder.
 */
export async function findDreamboothFolders(
  path: string,
  what: string,
  options: { mayBeEmpty?: boolean } = {},
): Promise<{ folders: DreamboothFolder[]; warnings: FolderWarning[] }> {
  const content = await listFolder(path, what);
  const warnings: FolderWarning[] = [], folders: DreamboothFolder[] = [];
  const outside = content.files.filter(isImageName);
  if (outside.length > 0) {
    const message = `${outside.length} images lie directly in ${path} and are not read, such as ${outside[0]}: ` +
      `move them into a subfolder called N_name`;
    warnings.push({ kind: "image_outside", path: join(path, outside[0]), message });
  }
  for (const folder of content.folders) {
    const folderPath = join(path, folder), name = parseFolderName(folder);
    if (name !== undefined) {
      folders.push({ path: folderPath, ...name });
      continue;
    }
    const message = `${folderPath} is left out: its name is not N_name with N repeats, N at least 1 (10_sks dog)`;
    warnings.push({ kind: "folder_without_repeats", path: folderPath, message });
  }
  if (options.mayBeEmpty && content.files.length + content.folders.length === 0) {
    warnings.push({ kind: "empty_folder", path, message: `the ${what} folder ${path} is empty` });
    return { folders, warnings };
  }
  if (folders.length > 0) return { folders, warnings };
  const found = content.folders.length > 0
    ? `its subfolders are ${content.folders.slice(0, 5).join(", ")}`
    : outside.length > 0
    ? `it has ${outside.length} images and no subfolder`
    : "it has no subfolder";
  throw new DataFolderError(
    path,
    `Cannot use the ${what} folder ${path}: ${found}; it must hold subfolders called N_name with the images in ` +
      `them, N being the repeats (10_sks dog)`,
  );
}

/**
 * Refuses a data folder in whose subfolders no picture was found.
 *
 * @throws {DataFolderError} Always.
 */
export function refuseEmptyFolders(path: string, what: string, folders: number): never {
  throw new DataFolderError(
    path,
    `Cannot use the ${what} folder ${path}: there are no images (${imageExtensions.slice(0, 10).join(" ")}) in its ` +
      `${folders} N_name subfolders`,
  );
}
