import { flagGroup } from "./flag.ts";

const noWandb = { refused: "nothing here is sent over the network" } as const;
const noHub = {
  refused: "nothing here is sent over the network; upload the files with the hub's own program",
} as const;
const notYet = { refused: "it is not there yet: figures are in the terminal and in the run's folder" } as const;

/** Flags about logs. */
export const logFlags = flagGroup("Logs", [
  {
    name: "logging_dir",
    type: "text",
    value: "folder",
    default: "log_kld",
    alone: null,
    from: "both",
    status: notYet,
    does: "folder of logs for TensorBoard",
  },
  {
    name: "logging_dir_2",
    type: "text",
    value: "folder",
    default: null,
    from: "original",
    status: notYet,
    does: "the same for network 2",
  },
  {
    name: "log_prefix",
    type: "text",
    value: "text",
    default: null,
    from: "both",
    status: notYet,
    does: "start of the names of logs",
  },
  {
    name: "log_prefix_2",
    type: "text",
    value: "text",
    default: null,
    from: "original",
    status: notYet,
    does: "the same for network 2",
  },
  {
    name: "log_with",
    type: "text",
    default: null,
    choices: ["tensorboard", "wandb", "all"],
    from: "sd-scripts",
    status: notYet,
    does: "which logs are written",
  },
  {
    name: "log_tracker_name",
    type: "text",
    value: "name",
    default: null,
    from: "sd-scripts",
    status: notYet,
    does: "name of the logs' tracker",
  },
  {
    name: "wandb_api_key",
    type: "text",
    value: "key",
    default: null,
    from: "sd-scripts",
    status: noWandb,
    does: "key for Weights & Biases",
  },
]);

/** Flags about the Hugging Face hub. */
export const hubFlags = flagGroup("Sending to the hub", [
  {
    name: "huggingface_repo_id",
    type: "text",
    value: "name",
    default: null,
    from: "sd-scripts",
    status: noHub,
    does: "repository to upload to",
  },
  {
    name: "huggingface_repo_type",
    type: "text",
    value: "kind",
    default: null,
    from: "sd-scripts",
    status: noHub,
    does: "kind of repository",
  },
  {
    name: "huggingface_path_in_repo",
    type: "text",
    value: "path",
    default: null,
    from: "sd-scripts",
    status: noHub,
    does: "folder in the repository",
  },
  {
    name: "huggingface_token",
    type: "text",
    value: "token",
    default: null,
    from: "sd-scripts",
    status: noHub,
    does: "token of the hub's account",
  },
  {
    name: "huggingface_repo_visibility",
    type: "text",
    value: "public|private",
    default: null,
    from: "sd-scripts",
    status: noHub,
    does: "who sees the repository",
  },
  {
    name: "save_state_to_huggingface",
    type: "switch",
    default: false,
    from: "sd-scripts",
    status: noHub,
    does: "upload states",
  },
  {
    name: "resume_from_huggingface",
    type: "switch",
    default: false,
    from: "sd-scripts",
    status: noHub,
    does: "go on from an uploaded state",
  },
  {
    name: "async_upload",
    type: "switch",
    default: false,
    from: "sd-scripts",
    status: noHub,
    does: "upload while training",
  },
]);
