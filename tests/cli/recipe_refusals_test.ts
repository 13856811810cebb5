import { rejects } from "node:assert/strict";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import { settingsOfLine } from "./parse_line.ts";
import { pair } from "./planned_options.ts";

Deno.test("values that nothing can be made of are refused by name", async () => {
  const messages: [string[], string][] = [
    [
      ["--resolution=512,512,512"],
      '--resolution is "512,512,512", must be one size in pixels or width,height, such as 512 or 512,768',
    ],
    [["--network_args", "conv_dim"], '--network_args has "conv_dim", must be name=value, such as conv_dim=…'],
    [["--network_args", "conv_dim=x"], '--network_args: conv_dim is "x", must be a whole number'],
    [
      ["--network_args", "dropout=0.1", "--network_dropout=0.2"],
      "--network_args has dropout, which --network_dropout gives as well: give one of them",
    ],
    [["--network_args", "conv_alpha=1"], "--network_args has conv_alpha, which needs conv_dim as well"],
    [
      ["--network_module=lycoris.kohya"],
      "--network_module=lycoris.kohya is refused: networks.lora is the only kind of network there is",
    ],
    [
      ["--network_train_unet_only", "--network_train_text_encoder_only"],
      "--network_train_unet_only and --network_train_text_encoder_only together leave nothing to train",
    ],
    [["--use_lion_optimizer"], "--use_lion_optimizer and --optimizer_type each name the optimizer: give one of them"],
    [
      ["--optimizer_args", "weight_decay"],
      '--optimizer_args has "weight_decay", must be name=value, such as weight_decay=0.1',
    ],
    [["--optimizer_args", "eps=1", "eps=2"], "--optimizer_args has eps twice"],
    [["--optimizer_args", "betas=(0.9"], '--optimizer_args has "betas=(0.9": a value is missing at the end'],
    [
      ["--network_args", "conv_dim=4", "--network_args_2"],
      "--network_args_2 leaves out what network 1 has (conv_dim): trained side by side, network 2 has all that network 1 has, with values of its own",
    ],
    [
      ["--base_weights=a", "--base_weights_multiplier", "1", "2"],
      "--base_weights_multiplier has 2 numbers for 1 files of --base_weights",
    ],
    [["--base_weights=a", "--base_weights_multiplier", "x"], '--base_weights_multiplier has "x", must be numbers'],
    [
      ["--freeze_network_1", "--output_name_2=Name_Pretrain"],
      '--output_name_2 is "Name_Pretrain": network 1\'s own training, before it is frozen, leaves its files under that name; ' +
      "choose another",
    ],
    [
      [
        ...["--freeze_network_1", "--output_name=", "--output_name_2=pretrain", "--save_every_n_epochs=0"],
        ...["--sample_every_n_steps=5", "--sample_prompts=p.txt"],
      ],
      '--output_name_2 is "pretrain": network 1\'s own training, before it is frozen, leaves its files under that name; ' +
      "choose another",
    ],
    [["--sample_every_n_steps=5"], "--sample_every_n_steps needs --sample_prompts, a file with a prompt on each line"],
    [
      ["--log_with=wandb"],
      "--log_with=wandb is refused: nothing here is sent over the network; use tensorboard, whose files wandb can import",
    ],
    [
      ["--log_with=tensorboard", "--logging_dir="],
      "--log_with=tensorboard needs --logging_dir, the folder of the logs",
    ],
  ];
  for (const [line, message] of messages) {
    const settings = await settingsOfLine([...pair, ...line]);
    await rejects(planRecipe(settings), { name: "UsageError", message });
  }
});
