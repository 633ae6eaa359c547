"""Human3.6M: a tensorflow-datasets builder that takes the files as they were downloaded.

From `names` upwards: `lens`, `metadata`, `files`, `archives`, `poses`, `video`, `crop`, `views`,
`report`, `builder`. The facts about the data set's files are stated where they are used; nothing
of the data set itself is here.
"""
