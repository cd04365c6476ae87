// SPDX-License-Identifier: GPL-2.0
/* The command line, as the table in commands.h describes it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"

/* Every command has these. They may stand before or behind its name. */
enum { OPT_JSON, OPT_PRETTY, OPT_DRY_RUN, OPT_VERSION, OPT_HELP };
static const struct option general[] = {
	[OPT_JSON] = { .name = "--json", .letter = 'j', .help = "print JSON: one document" },
	[OPT_PRETTY] = { .name = "--pretty", .letter = 'p', .help = "print JSON, indented" },
	[OPT_DRY_RUN] = { .name = "--dry-run", .letter = 'n',
		      .help = "print what would be done, and change nothing" },
	[OPT_VERSION] = { .name = "--version", .letter = 'V', .help = "print the version" },
	[OPT_HELP] = { .name = "--help", .letter = 'h', .help = "print this help" },
	{}
};

/* -- Which one is meant ----------------------------------------------------- */

/* How many letters to insert, delete or replace to make @b of @a. */
static int distance(const char *a, const char *b)
{
	int cost[32], diagonal, above, i, j, nr = strlen(b);

	if (nr >= (int)ARRAY_SIZE(cost))
		return nr;
	for (j = 0; j <= nr; j++)
		cost[j] = j;
	for (i = 0; a[i]; i++) {
		diagonal = cost[0]++;
		for (j = 0; j < nr; j++) {
			above = cost[j + 1];
			cost[j + 1] = diagonal + (a[i] != b[j]);
			if (cost[j + 1] > above + 1)
				cost[j + 1] = above + 1;
			if (cost[j + 1] > cost[j] + 1)
				cost[j + 1] = cost[j] + 1;
			diagonal = above;
		}
	}
	return cost[nr];
}

struct nearest {
	const char *name;
	int distance;
};

static void compare(struct nearest *nearest, const char *word, const char *name)
{
	int d = distance(word, name);

	/* what was cut short is near, however much is missing */
	if (strlen(word) > 3 && !strncmp(name, word, strlen(word)))
		d = 1;
	if (!nearest->name || d < nearest->distance)
		*nearest = (struct nearest){ name, d };
}

static bool is_near(const struct nearest *nearest, const char *word)
{
	return nearest->name && nearest->distance * 3 <= (int)strlen(word) + 1;
}

static int unknown_command(const struct command *commands, const char *word)
{
	struct nearest nearest = {};

	for (; commands->name; commands++)
		compare(&nearest, word, commands->name);
	if (is_near(&nearest, word))
		return fail("unknown command \"%s\": did you mean %s?", word, nearest.name);
	return fail("unknown command \"%s\": reuseportctl help lists the commands", word);
}

static int unknown_option(const struct command *command, const char *word)
{
	const struct option *option;
	struct nearest nearest = {};
	char bare[64];

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(word, "="), word);
	for (option = general; option->name; option++)
		compare(&nearest, bare, option->name);
	for (option = command ? command->options : NULL; option && option->name; option++)
		compare(&nearest, bare, option->name);
	if (!command)
		return fail("unknown option %s before the command: options of a command follow "
			    "its name; see reuseportctl help",
			    bare);
	if (is_near(&nearest, bare))
		return fail("%s has no option %s: did you mean %s?", command->name, bare,
			    nearest.name);
	if (command->has_rest)
		return fail("%s has no option %s: if it is an option of the server, write -- "
			    "before the server's command",
			    command->name, bare);
	return fail("%s has no option %s: see reuseportctl %s --help", command->name, bare,
		    command->name);
}

static bool is_named(const struct command *command, const char *word)
{
	return !strcmp(command->name, word) || (command->alias && !strcmp(command->alias, word));
}

/* As with bpftool, the name of a command may be abbreviated if it stays unique. */
static int find_command(const struct command *commands, const char *word,
			const struct command **found)
{
	const struct command *command;
	size_t len = strlen(word);
	int hits = 0;

	for (command = commands; command->name; command++) {
		if (is_named(command, word)) {
			*found = command;
			return 0;
		}
		if (strncmp(command->name, word, len) &&
		    (!command->alias || strncmp(command->alias, word, len)))
			continue;
		*found = command;
		hits++;
	}
	if (hits == 1)
		return 0;
	if (hits)
		return fail("\"%s\" is the beginning of several commands: see reuseportctl help",
			    word);
	return unknown_command(commands, word);
}

/* -- Values ------------------------------------------------------------------ */

static int parse_number(const struct option *option, const char *text, __u64 *number)
{
	char *end;

	*number = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || !*number || *number > option->max)
		return fail("%s takes a number from 1 to %u, not \"%s\"", option->name, option->max,
			    text);
	return 0;
}

static int parse_duration(const struct option *option, const char *text, __u64 *ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = { { "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60000 }, { "h", 3600000 } };
	unsigned int i;
	double number;
	char *end;

	number = strtod(text, &end);
	for (i = 0; i < ARRAY_SIZE(units); i++) {
		if (end > text && number >= 0 && number < 1e6 && !strcmp(end, units[i].unit)) {
			*ms = number * units[i].ms;
			return 0;
		}
	}
	return fail("%s takes a time such as 30s, 500ms or 2m, not \"%s\"", option->name, text);
}

static int add_number(struct arguments *args, int index, const char *text)
{
	const struct option *option = &args->command->options[index];
	int *nr = &args->values[index].nr_numbers;
	__u64 number;

	if (parse_number(option, text, &number))
		return -1;
	if (*nr == MAX_NUMBERS)
		return fail("%s takes %s up to %d times", args->command->name, option->name,
			    MAX_NUMBERS);
	args->values[index].numbers[(*nr)++] = number;
	return 0;
}

static int set_value(struct arguments *args, int index, const char *text)
{
	const struct option *option = &args->command->options[index];

	args->values[index].is_set = true;
	args->values[index].text = text;
	if (option->kind == NUMBER)
		return parse_number(option, text, &args->values[index].number);
	if (option->kind == NUMBERS)
		return add_number(args, index, text);
	if (option->kind == DURATION)
		return parse_duration(option, text, &args->values[index].number);
	return 0;
}

static int find_value(const struct arguments *args, const char *name)
{
	const struct option *options = args->command->options;
	int i;

	for (i = 0; options[i].name; i++)
		if (!strcmp(options[i].name, name))
			return i;
	/* a command asks for an option that it has not: the table lacks it */
	assert(false);
	return 0;
}

bool args_flag(const struct arguments *args, const char *name)
{
	return args->values[find_value(args, name)].is_set;
}

const char *args_text(const struct arguments *args, const char *name)
{
	return args->values[find_value(args, name)].text;
}

__u64 args_number(const struct arguments *args, const char *name, __u64 without)
{
	int index = find_value(args, name);

	return args->values[index].is_set ? args->values[index].number : without;
}

int args_numbers(const struct arguments *args, const char *name, const __u32 **numbers)
{
	int index = find_value(args, name);

	*numbers = args->values[index].numbers;
	return args->values[index].nr_numbers;
}

int args_require_name(const struct arguments *args)
{
	if (args->nr_words)
		return 0;
	return fail("%s takes the name of a service: see reuseportctl %s --help",
		    args->command->name, args->command->name);
}

/* -- Parsing ------------------------------------------------------------------ */

struct parser {
	char **argv; /* what is left */
	const struct command *commands;
	struct arguments *args;
	bool seen[ARRAY_SIZE(general)];
};

/* "--name", "--name=value" or "-x" */
static int find_option(const struct option *options, const char *word)
{
	size_t len = strcspn(word, "=");
	int i;

	for (i = 0; options[i].name; i++)
		if ((strlen(options[i].name) == len && !strncmp(options[i].name, word, len)) ||
		    (options[i].letter && word[1] == options[i].letter && !word[2]))
			return i;
	return -1;
}

/* "-jp": letters of general options, and nothing else. */
static bool parse_letters(struct parser *parser, const char *word)
{
	char one[] = "-x";
	const char *letter;

	if (word[1] == '-' || !word[1] || !word[2])
		return false;
	for (letter = word + 1; *letter; letter++) {
		one[1] = *letter;
		if (find_option(general, one) < 0)
			return false;
	}
	for (letter = word + 1; *letter; letter++) {
		one[1] = *letter;
		parser->seen[find_option(general, one)] = true;
	}
	return true;
}

static int parse_option(struct parser *parser, const char *word)
{
	const struct command *command = parser->args->command;
	int index = find_option(general, word);
	const char *text = strchr(word, '=');

	if (index >= 0) {
		parser->seen[index] = true;
		return text ? fail("%s takes no value", general[index].name) : 0;
	}
	index = command ? find_option(command->options, word) : -1;
	if (index < 0)
		return parse_letters(parser, word) ? 0 : unknown_option(command, word);
	if (command->options[index].kind == FLAG) {
		if (text)
			return fail("%s takes no value", command->options[index].name);
	} else if (text) {
		text++;
	} else {
		text = *parser->argv;
		if (!text || !strcmp(text, "--"))
			return fail("%s takes a value: %s", word, command->options[index].value);
		parser->argv++;
	}
	return set_value(parser->args, index, text);
}

static int parse_word(struct parser *parser, const char *word)
{
	struct arguments *args = parser->args;

	if (!args->command)
		return find_command(parser->commands, word, &args->command);
	if (args->nr_words == args->command->max_words)
		return fail("unexpected argument \"%s\": see reuseportctl %s --help", word,
			    args->command->name);
	args->words[args->nr_words++] = word;
	return 0;
}

/* What counts in spite of an error: how to print it, or whether to print help instead. */
static void scan_option(struct parser *parser, const char *word)
{
	int index = *word == '-' ? find_option(general, word) : -1;

	if (index == OPT_JSON || index == OPT_PRETTY || index == OPT_HELP)
		parser->seen[index] = true;
}

/* Return -1 on the first error, which is the only one that is recorded. */
static int parse_all(struct parser *parser)
{
	struct arguments *args = parser->args;
	int err = 0;

	while (*parser->argv) {
		const char *word = *parser->argv++;

		if (!strcmp(word, "--")) {
			if (args->command && args->command->has_rest)
				args->rest = parser->argv;
			else if (!err)
				err = fail("-- is only for restart");
			break;
		}
		if (err)
			scan_option(parser, word);
		else if (word[0] == '-' && word[1])
			err = parse_option(parser, word);
		else
			err = parse_word(parser, word);
	}
	return err;
}

/* Make it the command line of "help" or "version". */
static int redirect(struct arguments *args, const struct command *commands, const char *name,
		    const char *word)
{
	*args = (struct arguments){ .nr_words = !!word, .words[0] = word };
	return find_command(commands, name, &args->command);
}

int args_parse(int argc, char **argv, const struct command *commands, struct arguments *args)
{
	struct parser parser = { .argv = argv + !!argc, .commands = commands, .args = args };
	bool pretty;
	int err;

	*args = (struct arguments){};
	err = parse_all(&parser);
	pretty = parser.seen[OPT_PRETTY];
	if ((pretty || parser.seen[OPT_JSON]) && ui_begin_json(pretty))
		return -1;
	/* who asks for help need not have the rest right */
	if (parser.seen[OPT_HELP]) {
		drop_errors();
		return redirect(args, commands, "help",
				args->command ? args->command->name : NULL);
	}
	if (err)
		return -1;
	if (parser.seen[OPT_VERSION])
		return redirect(args, commands, "version", NULL);
	if (!args->command)
		return redirect(args, commands, "help", NULL);
	args->dry_run = parser.seen[OPT_DRY_RUN];
	return 0;
}

/* -- Help -------------------------------------------------------------------- */

static void print_option(const struct option *option)
{
	char left[48] = "    ";

	if (option->letter)
		snprintf(left, sizeof(left), "-%c, ", option->letter);
	snprintf(left + 4, sizeof(left) - 4, "%s%s%s", option->name, option->value ? " " : "",
		 option->value ? option->value : "");
	printf("  %-26s  %s\n", left, option->help);
}

static void print_options(const char *title, const struct option *options)
{
	if (options->name)
		printf("\n%s:\n", title);
	for (; options->name; options++)
		print_option(options);
}

static void print_usage(const struct command *command)
{
	printf("Usage: reuseportctl %s%s%s%s\n", command->name, *command->words ? " " : "",
	       command->words, command->options->name ? " [OPTIONS]" : "");
}

static int print_command(const struct command *command)
{
	if (command->has_rest)
		printf("Usage: reuseportctl %s [OPTIONS] %s\n", command->name, command->words);
	else
		print_usage(command);
	printf("\n%s.\n", command->help);
	if (command->alias)
		printf("%s is another name for it.\n", command->alias);
	print_options("Options", command->options);
	print_options("General options", general);
	return 0;
}

static void print_options_json(const struct option *options)
{
	jsonw_name(json, "options");
	jsonw_start_array(json);
	for (; options->name; options++) {
		jsonw_start_object(json);
		jsonw_string_field(json, "name", options->name);
		if (options->value)
			jsonw_string_field(json, "value", options->value);
		jsonw_string_field(json, "help", options->help);
		jsonw_end_object(json);
	}
	jsonw_end_array(json);
}

static int print_command_json(const struct command *command)
{
	jsonw_start_object(json);
	jsonw_string_field(json, "command", command->name);
	if (command->alias)
		jsonw_string_field(json, "alias", command->alias);
	jsonw_string_field(json, "arguments", command->words);
	jsonw_string_field(json, "help", command->help);
	print_options_json(command->options);
	jsonw_end_object(json);
	return 0;
}

static int print_all_json(const struct command *commands)
{
	jsonw_start_object(json);
	print_options_json(general);
	jsonw_name(json, "commands");
	jsonw_start_array(json);
	for (; commands->name; commands++)
		print_command_json(commands);
	jsonw_end_array(json);
	jsonw_end_object(json);
	return 0;
}

int args_print_help(const struct command *commands, const char *name)
{
	const struct command *command;

	if (name && find_command(commands, name, &command))
		return -1;
	if (json)
		return name ? print_command_json(command) : print_all_json(commands);
	if (name)
		return print_command(command);
	printf("Usage: reuseportctl [OPTIONS] COMMAND\n\n"
	       "Restart SO_REUSEPORT servers without downtime. Commands:\n");
	for (command = commands; command->name; command++)
		printf("  %-10s%s\n", command->name, command->help);
	print_options("General options", general);
	printf("\nreuseportctl COMMAND --help prints the options of a command.\n");
	return 0;
}

static const char *field(const char *text)
{
	return text && *text ? text : "-";
}

/* A line each, fields separated by tabs:
 *
 *	command	NAME	ALIAS	ARGUMENTS	WORDS TO OFFER	REST	HELP
 *	option	COMMAND	NAME	LETTER	VALUE	WORDS TO OFFER	HELP
 *
 * REST is "rest" if a command line may follow behind --. An empty field is "-"; so is COMMAND
 * for an option of all commands.
 */
void args_print_table(const struct command *commands)
{
	const struct command *command;
	const struct option *option;

	for (command = commands; command->name; command++)
		printf("command\t%s\t%s\t%s\t%s\t%s\t%s\n", command->name, field(command->alias),
		       field(command->words), field(command->complete),
		       command->has_rest ? "rest" : "-", command->help);
	for (option = general; option->name; option++)
		printf("option\t-\t%s\t-%c\t-\t-\t%s\n", option->name, option->letter,
		       option->help);
	for (command = commands; command->name; command++)
		for (option = command->options; option->name; option++)
			printf("option\t%s\t%s\t-\t%s\t%s\t%s\n", command->name, option->name,
			       field(option->value), field(option->complete), option->help);
}
