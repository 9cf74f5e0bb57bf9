"""What programs put together out of parts, or say without a full stop, so that people read it in their language.

All their other sentences are found in their sources (`apps.core.management.program_words`). Both are kept as they were
said, and `apps.core.retelling` recognises them. A value that is a common word, and not a name, stands in a placeholder
called `noun`.
"""

from django.utils.translation import gettext_noop as _

SENTENCES = (
    # What they are doing
    _("Training, epoch %(epoch)s of %(epochs)s"),
    _("Looking at the upload"),
    _("Checked %(done)s of %(all)s %(noun)s"),
    _("Read %(n)s rows"),
    _("Looking for copies and for wrong labels"),
    _("Looking for wrong labels"),
    _("Looking for wrong labels and for columns that give the target away"),
    _("%(n)s items are ready"),
    _("Reading images"),
    _("Reading texts"),
    _("Reading pairs"),
    _("Reading series"),
    _("Reading interactions"),
    _("Reading questions and answers"),
    _("Reading the table"),
    _("Growing trees, round %(round)s"),
    _("Fitting a linear model"),
    _("Learning pieces of words"),
    _("Translating held-out texts"),
    _("Listening to what is held out"),
    _("Trying ways to search"),
    _("Writing and checking the model"),
    _("Putting the answers into an index"),
    _("Measuring the original"),
    _("Candidate %(number)s: %(recipe)s"),
    _("Asking the models"),
    _("Trying which models go together"),
    _("Measuring speed, turn by turn"),
    _("Measuring speed"),
    _("Putting the models together"),
    _("Writing the files"),
    # What came of a compression
    _("Accuracy went from %(before)s to %(after)s."),
    _("The files are %(n)s times smaller."),
    _("The files are %(n)s times larger."),
    _("The files are as large as before."),
    _("The model is %(n)s times faster."),
    _("The model is %(n)s times slower."),
    _("The model is as fast as before."),
    # What was done to data
    _("Decoded every file to see that it is whole; its own bytes are kept"),
    _("Decoded every recording to see that it is whole; its own bytes are kept"),
    _("Left out files that cannot be used"),
    _("Left out rows that cannot be used"),
    _("Read the rows"),
    _("Removed blanks around values, and line breaks of other systems"),
    _("Took words for “not known” (?, NA, N/A, null, None, NaN) as missing values"),
    # What the data doctor finds
    _("%(noun)s whose label is probably wrong: %(n)s of %(all)s (%(share)s)."),
    _("A quick model, which is right about %(share)s of those that it has not learned from, is sure of another label."),
    _("Of the %(all)s test items it is %(n)s: there a perfect model would seem to be wrong."),
    _("%(asked)s of %(all)s %(noun)s were looked at."),
    _("%(asked)s of %(all)s %(noun)s were compared."),
    _("%(noun)s that are byte for byte copies of others: %(n)s."),
    _("%(noun)s that stand in more than one of train, val and test: %(n)s."),
    _("%(noun)s that have different labels: %(n)s."),
    _("%(noun)s that stand in more than one class: %(n)s."),
    _("%(noun)s that are nearly equal to another one: %(n)s."),
    _("Groups of %(noun)s that are nearly equal and stand in more than one of train, val and test: %(n)s."),
    _("%(n)s of the %(all)s items that judge a model (%(share)s) have a copy in another part."),
    _("If a model knows them by heart, its figures can be too good by as much."),
    _("There was no %(split)s part; %(noun)s taken out of train for it: %(n)s."),
    _("The class %(largest)s has %(most)s training %(noun)s and %(smallest)s %(fewest)s."),
    _("Look at the F1 as well as at the accuracy, or set class_weights to balanced."),
    # What is wrong with a setting
    _("%(name)s is %(value)s; it must lie between %(low)s and %(high)s."),
    # What things are called in these sentences
    _("images"),
    _("recordings"),
    _("texts"),
    _("pairs"),
    _("items"),
    _("rows"),
    _("files"),
    _("values"),
    _("series"),
)
