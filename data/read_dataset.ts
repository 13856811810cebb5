import { faceOf } from "./picture_cut.ts";
import { type CaptionFileOptions, checkExtension, type FolderWarning, readImageFolder } from "./image_folder.ts";
import { bucketSelector } from "./buckets.ts";
import type { DatasetOptions, SubsetOptions } from "./dataset_options.ts";
import { findDreamboothFolders, refuseEmptyFolders } from "./dreambooth_folder.ts";
import { readImageSizes } from "./image_size.ts";
import { type MetadataImage, readMetadataFile } from "./metadata_file.ts";
import type { ImageSize } from "./resize.ts";
import { datasetSettings, type DatasetSource, type Subset, type SubsetSettings, subsetSettings } from "./subset.ts";

/** A data set as it was found, and what was left out, as sentences. */
export interface ReadDataset {
  readonly source: DatasetSource;
  readonly warnings: readonly string[];
}

/** Options of {@linkcode readDataset}. */
export interface ReadDatasetOptions extends Pick<CaptionFileOptions, "captionWithoutImage"> {
  /** Who learns from it, for messages: "network 1". */
  readonly name: string;
}

/** What a subset is, for messages. */
function subsetText(name: string, isReg: boolean | undefined): string {
  return `${name} ${isReg ? "regularization" : "training"}`;
}

/** Subsets of `N_name` folders. A folder for regularization pictures may be empty, as in command lines that name one always. */
async function dreamboothSubsets(
  path: string,
  isReg: boolean,
  name: string,
  options: CaptionFileOptions,
  warnings: string[],
): Promise<SubsetOptions[]> {
  const what = subsetText(name, isReg);
  checkExtension(path, what, options);
  const found = await findDreamboothFolders(path, what, { mayBeEmpty: isReg });
  warnings.push(...found.warnings.map(({ message }) => message));
  return found.folders.map(({ path, repeats, classTokens }) => {
    return { imageDir: path, numRepeats: repeats, classTokens, isReg };
  });
}

/** Pictures of a subset, their sizes not yet known. */
async function listImages(
  subset: SubsetOptions,
  settings: SubsetSettings,
  { name, captionWithoutImage }: ReadDatasetOptions,
  warnings: string[],
): Promise<{ path: string; images: MetadataImage[] }> {
  if (subset.metadataFile !== undefined) {
    return { path: subset.metadataFile, images: await readMetadataFile(subset.metadataFile, subset.imageDir) };
  }
  const path = subset.imageDir!, { captionExtension, classTokens } = settings, found: FolderWarning[] = [];
  const reading = {
    ...(captionExtension === null ? {} : { captionExtension }),
    ...(captionWithoutImage ? { captionWithoutImage } : {}),
  };
  const images = await readImageFolder(path, classTokens ?? "", subsetText(name, subset.isReg), reading, found);
  warnings.push(...found.map(({ message }) => message));
  return { path, images: images.map(({ path, caption }) => ({ path, caption, countedTags: caption })) };
}

/**
 * Checks a data set's settings, before anything of it is read.
 *
 * @param name Who learns from it, for messages: "network 1".
 * @throws {RangeError} If a setting is out of range.
 */
export function checkDataset(options: DatasetOptions, name: string): void {
  const { resolution, ...settings } = datasetSettings(options, name);
  const { trainDataDir, regDataDir, subsets = [] } = options;
  // Metadata may bring sizes of their own.
  const isSized = subsets.every(({ metadataFile }) => metadataFile === undefined);
  if (settings.enableBucket && resolution && isSized) bucketSelector({ ...settings, resolution });
  if (trainDataDir !== undefined || regDataDir !== undefined) subsetSettings({}, options, name);
  for (const subset of subsets) {
    subsetSettings(subset, options, `${name}, ${subset.metadataFile ?? subset.imageDir}`);
  }
}

/** Sizes of pictures, or of those that latents stand for. */
async function imageSizes(images: readonly MetadataImage[]): Promise<ImageSize[]> {
  const read = (await readImageSizes(images.flatMap(({ path, latentsOf }) => latentsOf ? [] : [path]))).values();
  return images.map(({ latentsOf }) => latentsOf ?? read.next().value!);
}

/**
 * Reads what a data set is made of: folders, captions, metadata, and the pictures' sizes. The pictures themselves are
 * not decoded.
 *
 * As in sd-scripts, a subset without pictures, with repeats below 1, or with a folder that an earlier subset has is left
 * out.
 *
 * @throws {DataFolderError} If a folder is missing or unusable.
 * @throws {CaptionError} If a caption cannot be read.
 * @throws {MetadataError} If metadata cannot be read.
 * @throws {ImageError} If a picture cannot be opened or is none.
 * @throws {RangeError} If a setting is out of range.
 * @throws {TypeError} If a subset names neither folder nor metadata, or both kinds are mixed.
 */
export async function readDataset(options: DatasetOptions, reading: ReadDatasetOptions): Promise<ReadDataset> {
  const { name } = reading, settings = datasetSettings(options, name), warnings: string[] = [];
  const extension = options.captionExtension === undefined ? {} : { captionExtension: options.captionExtension };
  const wanted: SubsetOptions[] = [];
  const folders = [[options.trainDataDir, false], [options.regDataDir, true]] as const;
  for (const [folder, isReg] of folders) {
    if (folder !== undefined) wanted.push(...await dreamboothSubsets(folder, isReg, name, extension, warnings));
  }
  for (const [at, subset] of (options.subsets ?? []).entries()) {
    if (subset.imageDir === undefined && subset.metadataFile === undefined) {
      throw new TypeError(`Cannot read the data of ${name}: subset ${at + 1} has neither imageDir nor metadataFile`);
    }
    wanted.push(subset);
  }
  const withMetadata = wanted.filter(({ metadataFile }) => metadataFile !== undefined).length;
  if (withMetadata > 0 && withMetadata < wanted.length) {
    throw new TypeError(
      `Cannot read the data of ${name}: folders and metadata files stand in one data set; make two data sets of them`,
    );
  }
  const subsets: Subset[] = [], seen = new Set<string>();
  for (const subset of wanted) {
    const path = (subset.metadataFile ?? subset.imageDir)!;
    const settings = subsetSettings(subset, options, `${name}, ${path}`);
    if (settings.numRepeats < 1) {
      warnings.push(`${path} is left out: its repeats are ${settings.numRepeats}`);
      continue;
    }
    if (seen.has(path)) {
      warnings.push(`${path} is named twice: the second time is left out`);
      continue;
    }
    const { images } = await listImages(subset, settings, reading, warnings);
    if (settings.faceCropAugRange !== null && images.length > 0 && !images.some(({ path }) => faceOf(path))) {
      warnings.push(
        `${path}: no file's name ends in _<x>_<y>_<width>_<height> of a face: faceCropAugRange decides nothing there`,
      );
    }
    if (images.length === 0) {
      warnings.push(`${path} has no images`);
      continue;
    }
    seen.add(path);
    const sizes = await imageSizes(images);
    subsets.push({
      path,
      kind: subset.metadataFile === undefined ? "folder" : "metadata",
      settings,
      images: images.map(({ latentsOf, ...image }, at) => ({
        ...image,
        size: sizes[at],
        ...(latentsOf ? { isLatents: true } : {}),
      })),
    });
  }
  const { trainDataDir } = options;
  if (trainDataDir !== undefined && !subsets.some(({ settings }) => !settings.isReg)) {
    refuseEmptyFolders(trainDataDir, `${name} training`, wanted.filter(({ isReg }) => !isReg).length);
  }
  return { source: { settings, subsets }, warnings };
}
